"""Whole stacks against a dictionary: layers drawn at random, in sensible and in odd orders.

With any layers, a store does what a dictionary with expiry does, or reports by its capabilities
and by `UnsupportedOperation` that it cannot. `make soak` runs more and longer examples.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvwrap import (
    Capability,
    ConfigurationError,
    InvalidValue,
    KeyNotFound,
    MemoryStore,
    StackWarning,
    Store,
    UnsupportedOperation,
    stack,
)
from kvwrap.testing import ManualClock
from kvwrap.testing.servers import SharedServers
from tests.catalog import LAYERS, STORES, Resources

SOAK = bool(os.environ.get("KVWRAP_SOAK"))
NAMES = sorted(set(LAYERS) - {"read_only"})
SENSIBLE = [
    "passthrough", "log", "trace", "statistics", "validate",
    "limit_size", "default_value", "slide_ttl", "tags", "clamp_ttl",
    "prefix_collection", "prefix_key", "single_collection", "hash_keys", "serialize", "compress",
    "encrypt", "read_through", "coalesce", "write_behind", "fallback", "shadow", "replicate",
    "shard", "route", "limit_rate", "limit_concurrency", "retry", "circuit_breaker", "timeout",
    "chaos",
]  # fmt: skip
"""The order in which users would write them."""

KEYS = ["a", "ab", "b", "@b", "é", "a:b", "z" * 300]
COLLECTIONS = [None, "a", "b:", "c"]
VALUES: list[Any] = [None, 0, 7, -1, True, 2.5, "", "text", [], {"a": [1, None]}, "long " * 100]
TTLS = [None, 1.5, 10, 1000]
CAN = Capability


def test_every_layer_is_in_the_list() -> None:
    assert sorted(SENSIBLE) == NAMES


class Model:
    """A model of a store: values with an expiry time, by collection and key."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.held: dict[tuple[str | None, str], tuple[Any, float | None]] = {}

    def get(self, name: str | None, key: str) -> tuple[Any, float | None] | None:
        found = self.held.get((name, key))
        if found is None or (found[1] is not None and found[1] <= self.clock.time()):
            return None
        return found

    def put(self, name: str | None, key: str, value: Any, end: float | None) -> None:
        self.held[name, key] = (value, end)

    def remove(self, name: str | None, key: str) -> bool:
        there = self.get(name, key) is not None
        self.held.pop((name, key), None)
        return there

    def keys(self, name: str | None) -> list[str]:
        return sorted(k for place, k in self.held if place == name and self.get(place, k))

    def collections(self) -> list[str]:
        return sorted({n for n, k in self.held if n is not None and self.get(n, k)})

    def end(self, ttl: float | None) -> float | None:
        return None if ttl is None else self.clock.time() + ttl


class Play:
    """Runs each operation on the store and on the model, and compares the results."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store = store
        self.clock = clock
        self.model = Model(clock)
        self.versions: dict[tuple[str | None, str], int] = {}

    def can(self, *capabilities: Capability) -> bool:
        return set(capabilities) <= self.store.capabilities

    async def refused(self, call: Any) -> None:
        with pytest.raises(UnsupportedOperation):
            await call

    def check_ttl(self, found: tuple[Any, float | None], name: str | None, key: str) -> None:
        wanted = self.model.get(name, key)
        value, left = found
        if wanted is None:
            assert found == (None, None)
            return
        same(value, wanted[0])
        if wanted[1] is None:
            assert left is None
        else:
            assert left == pytest.approx(wanted[1] - self.clock.time(), abs=0.002)

    def value(self, name: str | None, key: str) -> Any:
        found = self.model.get(name, key)
        return None if found is None else found[0]

    # -- one method per operation; arguments are drawn ---------------------------------

    async def get(self, name: Any, key: str, other: str, value: Any, ttl: Any) -> None:
        same(await self.store.get(key, collection=name), self.value(name, key))
        found = await self.store.get_many([key, other, key], collection=name)
        same(found, [self.value(name, each) for each in (key, other, key)])

    async def ttl(self, name: Any, key: str, other: str, value: Any, ttl: Any) -> None:
        self.check_ttl(await self.store.ttl(key, collection=name), name, key)
        for each, found in zip(
            (other, key), await self.store.ttl_many([other, key], collection=name), strict=True
        ):
            self.check_ttl(found, name, each)

    async def put(self, name: Any, key: str, other: str, value: Any, ttl: Any) -> None:
        await self.store.put(key, value, collection=name, ttl=ttl)
        self.model.put(name, key, value, self.model.end(ttl))

    async def put_many(self, name: Any, key: str, other: str, value: Any, ttl: Any) -> None:
        keys, values, ttls = [key, other, key], [value, 1, value], [None, 10, ttl]
        await self.store.put_many(keys, values, collection=name, ttl=ttls)
        for each, one, own in zip(keys, values, ttls, strict=True):
            self.model.put(name, each, one, self.model.end(own))

    async def delete(self, name: Any, key: str, other: str, value: Any, ttl: Any) -> None:
        assert await self.store.delete(key, collection=name) is self.model.remove(name, key)

    async def delete_many(self, name: Any, key: str, other: str, value: Any, ttl: Any) -> None:
        wanted = sum([self.model.remove(name, each) for each in (key, other, key)])
        assert await self.store.delete_many([key, other, key], collection=name) == wanted

    async def exists(self, name: Any, key: str, other: str, value: Any, ttl: Any) -> None:
        there = self.model.get(name, key) is not None
        assert await self.store.exists(key, collection=name) is there
        if there:
            same(await self.store.require(key, collection=name), self.value(name, key))
        else:
            with pytest.raises(KeyNotFound):
                await self.store.require(key, collection=name)

    async def pop(self, name: Any, key: str, other: str, value: Any, ttl: Any) -> None:
        there = self.model.get(name, key)
        wanted = "nothing" if there is None else there[0]
        same(await self.store.pop(key, "nothing", collection=name), wanted)
        self.model.remove(name, key)

    async def put_if_absent(self, name: Any, key: str, other: str, value: Any, ttl: Any) -> None:
        call = self.store.put_if_absent(key, value, collection=name, ttl=ttl)
        if not self.can(CAN.COMPARE_AND_PUT):
            await self.refused(call)
            return
        absent = self.model.get(name, key) is None
        assert await call is absent
        if absent:
            self.model.put(name, key, value, self.model.end(ttl))

    async def compare_and_put(self, name: Any, key: str, other: str, value: Any, ttl: Any) -> None:
        found = await self.store.get_versioned(key, collection=name)
        there = self.model.get(name, key)
        assert (found is None) == (there is None)
        version = 1 if found is None else found.version
        call = self.store.compare_and_put(key, value, version, collection=name, ttl=ttl)
        if not self.can(CAN.COMPARE_AND_PUT):
            await self.refused(call)
            return
        assert await call is (there is not None)
        if there is not None:
            self.model.put(name, key, value, self.model.end(ttl))
            # The version that was there is there no more.
            assert not await self.store.compare_and_put(key, 0, version, collection=name)

    async def increment(self, name: Any, key: str, other: str, value: Any, ttl: Any) -> None:
        there = self.model.get(name, key)
        call = self.store.increment(key, 3, collection=name, initial=10, ttl=ttl)
        if there is not None and type(there[0]) is not int:
            with pytest.raises((InvalidValue, UnsupportedOperation)):
                await call
        elif not self.can(CAN.COMPARE_AND_PUT):
            await self.refused(call)
        else:
            total, end = (13, self.model.end(ttl)) if there is None else (there[0] + 3, there[1])
            assert await call == total
            self.model.put(name, key, total, end)

    async def compare_and_delete(
        self, name: Any, key: str, other: str, value: Any, ttl: Any
    ) -> None:
        found = await self.store.get_versioned(key, collection=name)
        there = self.model.get(name, key) is not None
        assert (found is not None) == there
        version = 1 if found is None else found.version
        call = self.store.compare_and_delete(key, version, collection=name)
        if not self.can(CAN.COMPARE_AND_PUT):
            await self.refused(call)
            return
        assert await call is there
        self.model.remove(name, key)
        assert not await self.store.compare_and_delete(key, version, collection=name)

    async def expire(self, name: Any, key: str, other: str, value: Any, ttl: Any) -> None:
        there = self.model.get(name, key)
        assert await self.store.expire(key, ttl, collection=name) is (there is not None)
        if there is not None:
            self.model.put(name, key, there[0], self.model.end(ttl))

    async def move(self, name: Any, key: str, other: str, value: Any, ttl: Any) -> None:
        there = self.model.get(name, key)
        moved = self.store.move(key, other, collection=name, target_collection="c")
        assert await moved is (there is not None)
        if there is not None:
            self.model.remove(name, key)
            self.model.put("c", other, *there)

    async def get_or_put(self, name: Any, key: str, other: str, value: Any, ttl: Any) -> None:
        there = self.model.get(name, key)
        found = await self.store.get_or_put(key, lambda: value, collection=name, ttl=ttl)
        same(found, value if there is None else there[0])
        if there is None:
            self.model.put(name, key, value, self.model.end(ttl))

    async def enumerate(self, name: Any, key: str, other: str, value: Any, ttl: Any) -> None:
        if not self.can(CAN.KEYS):
            await self.refused(self.store.keys(name))
            return
        wanted = self.model.keys(name)
        found = await self.store.keys(name)
        assert sorted(found) == wanted
        if self.can(CAN.RANGE):
            assert found == wanted
        assert len(await self.store.keys(name, limit=2)) == min(2, len(wanted))
        start, end = sorted((key, other))
        ranged = [k async for k in self.store.scan(collection=name, start=start, end=end)]
        assert sorted(ranged) == [k for k in wanted if start <= k < end]
        prefix = key[:1]
        items = [i async for i in self.store.items(collection=name, prefix=prefix)]
        assert sorted(k for k, _ in items) == [k for k in wanted if k.startswith(prefix)]
        for each, found_value in items:
            same(found_value, self.value(name, each))

    async def count(self, name: Any, key: str, other: str, value: Any, ttl: Any) -> None:
        if not self.can(CAN.KEYS):
            await self.refused(self.store.count(collection=name, prefix=key))
            return
        wanted = self.model.keys(name)
        assert await self.store.count(collection=name) == len(wanted)
        prefix = key[:1]
        counted = await self.store.count(collection=name, prefix=prefix)
        assert counted == sum(k.startswith(prefix) for k in wanted)

    async def delete_where(self, name: Any, key: str, other: str, value: Any, ttl: Any) -> None:
        prefix = key[:1] if ttl else key
        if not self.can(CAN.KEYS):
            await self.refused(self.store.delete_where(collection=name, prefix=prefix))
            return
        gone = [k for k in self.model.keys(name) if k.startswith(prefix)]
        assert await self.store.delete_where(collection=name, prefix=prefix) == len(gone)
        for each in gone:
            self.model.remove(name, each)

    async def collections(self, name: Any, key: str, other: str, value: Any, ttl: Any) -> None:
        if not self.can(CAN.COLLECTIONS):
            await self.refused(self.store.collections())
            return
        assert sorted(await self.store.collections()) == self.model.collections()

    async def destroy_collection(
        self, name: Any, key: str, other: str, value: Any, ttl: Any
    ) -> None:
        if not self.can(CAN.DESTROY_COLLECTION):
            await self.refused(self.store.destroy_collection(name))
            return
        wanted = [self.model.remove(name, each) for each in KEYS]
        assert await self.store.destroy_collection(name) is any(wanted)

    async def destroy(self, name: Any, key: str, other: str, value: Any, ttl: Any) -> None:
        if not self.can(CAN.DESTROY):
            await self.refused(self.store.destroy())
            return
        wanted = [self.model.remove(*place) for place in list(self.model.held)]
        assert await self.store.destroy() is any(wanted)

    async def cull(self, name: Any, key: str, other: str, value: Any, ttl: Any) -> None:
        await self.store.cull()
        await self.store.check()

    async def wait(self, name: Any, key: str, other: str, value: Any, ttl: Any) -> None:
        # Never exactly to an expiry time.
        await self.clock.run((ttl or 0.25) + 0.25)

    async def reopen(self, name: Any, key: str, other: str, value: Any, ttl: Any) -> None:
        if self.can(CAN.PERSISTENT):
            await self.store.close()
            await self.store.open()


OPERATIONS = [name for name in vars(Play) if not name.startswith("_")]
OPERATIONS = [n for n in OPERATIONS if n not in {"can", "refused", "check_ttl", "value"}]
COMMON = ["put", "put", "put_many", "wait", "get"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(OPERATIONS + COMMON),
        st.sampled_from(COLLECTIONS),
        st.sampled_from(KEYS),
        st.sampled_from(KEYS),
        st.sampled_from(VALUES),
        st.sampled_from(TTLS),
    ),
    min_size=5,
    max_size=60 if SOAK else 30,
)
LAYERINGS = st.one_of(
    st.lists(st.sampled_from(NAMES), max_size=7, unique=True).map(
        lambda names: sorted(names, key=SENSIBLE.index)
    ),
    st.lists(st.sampled_from(NAMES), max_size=5),
)


def same(found: Any, wanted: Any) -> None:
    """Check that both are equal and of one type: `True` is not 1."""
    assert (type(found), found) == (type(wanted), wanted)


def layered(names: Sequence[str], base: Store, clock: ManualClock) -> Store:
    """Return these layers over the store, without those that cannot have their position."""
    layers = stack()
    for name in reversed(names):
        longer = LAYERS[name].make(clock) + layers
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StackWarning)
            try:
                longer.over(MemoryStore(clock=clock))
            except ConfigurationError:
                continue
        layers = longer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StackWarning)
        return layers.over(base)


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Check afterwards that no task is running, and that none has failed unnoticed."""
    loop, errors = asyncio.get_running_loop(), list[dict[str, Any]]()
    loop.set_exception_handler(lambda _, context: errors.append(context))
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert errors == []


async def play(names: Sequence[str], base: Store, steps: Sequence[Any], clock: ManualClock) -> None:
    store = layered(names, base, clock)
    async with nothing_left(), store:
        game = Play(store, clock)
        for operation, *arguments in steps:
            await getattr(game, operation)(*arguments)
        for name in COLLECTIONS:
            await game.enumerate(name, "a", "z", None, None)
            same(
                await store.get_many(KEYS, collection=name),
                [game.value(name, key) for key in KEYS],
            )
        await game.collections(None, "a", "b", None, None)


BASES = {"memory": 400, "dict": 150, "py-key-value": 120, "sqlite": 100, "redis": 60}
_numbers = count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model")


@pytest.mark.parametrize("base", BASES)
def test_a_stack_does_what_a_dictionary_does(
    base: str, folder: Path, servers: SharedServers
) -> None:
    @settings(
        max_examples=BASES[base] * (5 if SOAK else 1),
        suppress_health_check=list(HealthCheck),
    )
    @given(names=LAYERINGS, steps=STEPS)
    def check(names: list[str], steps: list[Any]) -> None:
        clock, number = ManualClock(), next(_numbers)
        own = folder / str(number)
        own.mkdir()
        made = STORES[base](Resources(clock, own, servers.url))
        asyncio.run(play(names, made, steps, clock))

    check()
