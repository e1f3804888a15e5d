"""`MemoryStore`, without and with layers, compared with py-key-value's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from key_value.aio.stores.memory import MemoryStore as TheirMemoryStore
from key_value.aio.wrappers.prefix_keys import PrefixKeysWrapper
from key_value.aio.wrappers.single_collection import SingleCollectionWrapper
from key_value.aio.wrappers.statistics import StatisticsWrapper
from key_value.aio.wrappers.ttl_clamp import TTLClampWrapper

from benchmarks.table import Row, difference, ratio
from benchmarks.timing import Work, pair
from kvwrap import MemoryStore, Passthrough, Stack, TTLClamp, stack
from kvwrap.core.entry import Entry
from kvwrap.core.ttl import LATEST

VALUE = {"user_id": 12345, "name": "Ada Lovelace", "roles": ["admin", "dev"], "active": True}
COUNT = 4000
NAMES = [f"user:{number}" for number in range(COUNT)]


def getting(store: Any, **arguments: Any) -> Work:
    """Return work that gets one key repeatedly."""

    async def work(count: int) -> None:
        get = store.get
        for _ in range(count):
            await get("user:12345", **arguments)

    return work


def putting(store: Any, value: Any = VALUE, **arguments: Any) -> Work:
    """Return work that puts one key repeatedly, with a ttl."""

    async def work(count: int) -> None:
        put = store.put
        for _ in range(count):
            await put("user:12345", value, ttl=300, **arguments)

    return work


def getting_or_putting(store: MemoryStore) -> Work:
    """Return work that gets one key of a collection repeatedly, which would be computed."""

    async def work(count: int) -> None:
        get_or_put = store.get_or_put
        for _ in range(count):
            await get_or_put("user:12345", compute, collection="c", ttl=300)

    return work


def missing(store: MemoryStore) -> Work:
    """Return work that gets other keys each time, which are computed."""

    async def work(count: int) -> None:
        get_or_put = store.get_or_put
        for name in NAMES[:count]:
            await get_or_put(name, compute, collection="c", ttl=300)

    return work


def composed(store: MemoryStore) -> Work:
    """Return work that does the same without single flight: it gets, computes and puts."""

    async def work(count: int) -> None:
        for name in NAMES[:count]:
            if await store.get(name, collection="c") is None:
                await store.put(name, compute(), collection="c", ttl=300)

    return work


def compute() -> Any:
    """Return a value, at no cost."""
    return VALUE


async def rows() -> AsyncIterator[Row]:
    """Measure the store without layers, with four, and the overhead of each kind of layer."""
    in_c = {"collection": "c"}
    ours, theirs = MemoryStore(), TheirMemoryStore()
    for memory in (ours, theirs):
        await putting(memory, **in_c)(1)
    put = await pair(putting(ours, **in_c), putting(theirs, **in_c), COUNT, COUNT // 10)
    get = await pair(getting(ours, **in_c), getting(theirs, **in_c), COUNT, COUNT // 10)
    yield ratio("`MemoryStore` get, compared with py-key-value's", get, 1 / 22, "1/22")
    yield ratio("`MemoryStore` put with ttl, compared with py-key-value's", put, 1 / 24, "1/24")

    layered = (
        stack()
        .statistics()
        .clamp_ttl(minimum=1, maximum=600)
        .single_collection("all")
        .prefix_key("v1-")
        .over(MemoryStore())
    )
    wrapped = StatisticsWrapper(
        TTLClampWrapper(
            SingleCollectionWrapper(
                PrefixKeysWrapper(TheirMemoryStore(), prefix="v1"), single_collection="all"
            ),
            min_ttl=1,
            max_ttl=600,
        )
    )
    for store in (layered, wrapped):
        await putting(store, **in_c)(1)
    put = await pair(putting(layered, **in_c), putting(wrapped, **in_c), COUNT, COUNT // 10)
    get = await pair(getting(layered, **in_c), getting(wrapped, **in_c), COUNT, COUNT // 10)
    yield ratio(
        "four layers over it: get, compared with the same four wrappers", get, 1 / 18, "1/18"
    )
    yield ratio(
        "four layers over it: put, compared with the same four wrappers", put, 1 / 25, "1/25"
    )

    get = await pair(getting_or_putting(ours), getting(ours, **in_c), COUNT, COUNT)
    yield ratio("`get_or_put`: a hit, compared with `get`", get, 1.7, "1.70")
    computing, composing = MemoryStore(), MemoryStore()

    async def clear() -> None:
        await computing.destroy()
        await composing.destroy()

    miss = await pair(missing(computing), composed(composing), COUNT, COUNT, clear)
    yield difference("`get_or_put`: a miss, beyond `get`, the function and `put`", miss, 20)

    bare = MemoryStore()
    await putting(bare)(1)
    for name, layers, work, at_most in LAYERS:
        store = layers.over(MemoryStore())
        await putting(store)(1)
        measured = await pair(work(store), work(bare), COUNT, COUNT)
        yield difference(name, measured, at_most)

    clamping = stack().clamp_ttl(maximum=60).over(MemoryStore())
    measured = await pair(putting(clamping), putting_and_clamping(bare), COUNT, COUNT)
    yield difference("`TTLClamp`: put over the maximum, beyond the clamping", measured, 0.4)


def putting_and_clamping(store: MemoryStore) -> Work:
    """Return work that puts and also clamps a ttl, as the layer does, but without the layer."""
    clamped = TTLClamp(maximum=60).clamped
    entry = Entry(b"", b"", 0.0, 300.0, 1)
    now = 0.0

    async def work(count: int) -> None:
        put = store.put
        for _ in range(count):
            await put("user:12345", VALUE, ttl=300)
            ttl = clamped(300.0 - now)
            entry.with_expiry(None if ttl is None else min(now + ttl, LATEST))

    return work


LAYERS: list[tuple[str, Stack, Any, float]] = [
    ("`Passthrough`: get, beyond the store without layers", stack(Passthrough()), getting, 0.1),
    ("`TTLClamp`, which does not change reads: get", stack().clamp_ttl(maximum=60), getting, 0.1),
    ("`Validate`, which does not change reads: get", stack().validate(dict), getting, 0.1),
    ("`TTLClamp`: put within its bounds", stack().clamp_ttl(maximum=600), putting, 0.4),
    ("`PrefixCollection`: get", stack().prefix_collection("app-"), getting, 0.4),
    ("`PrefixCollection`: put", stack().prefix_collection("app-"), putting, 0.4),
    ("`PrefixKey`: get", stack().prefix_key("v1-"), getting, 0.4),
    ("`PrefixKey`: put", stack().prefix_key("v1-"), putting, 0.4),
    ("`SlidingTTL`: get of an entry not yet due", stack().slide_ttl(300), getting, 0.4),
    ("`SingleCollection`: get", stack().single_collection("all"), getting, 0.4),
]
