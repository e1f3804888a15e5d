"""Operations of a key or range at the backend, beside changes that are being sent to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from kvwrap import Store
from kvwrap.core.primitives import KeyRange
from kvwrap.layers.write_behind import WriteBehind
from kvwrap.testing import ManualClock
from tests.layers.faulty import FaultyStore


async def remove_this_version(store: Store) -> list[bool]:
    (entry,) = await store.read(None, ["k"])
    assert entry is not None
    return await store.remove(None, ["k"], [entry.version])


Operation = Callable[[Store], Awaitable[Any]]

WHOLE: dict[str, Operation] = {
    "drop_range": lambda store: store.drop_range(None, KeyRange("k")),
    "drop": lambda store: store.drop(None),
    "drop_all": lambda store: store.drop_all(),
}
OF_KEYS: dict[str, Operation] = {
    "touch": lambda store: store.touch(None, ["k"], [None]),
    "remove": remove_this_version,
}


_is_inside: ContextVar[bool] = ContextVar("is_inside", default=False)


class Held(FaultyStore):
    """A store that holds calls: before they begin, or after their effect.

    Attributes:
        before: Holds the calls of these primitives and first keys before their effect.
        after: Holds them after it.
        reached: The calls that were held.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.before: dict[tuple[str, str], asyncio.Event] = {}
        self.after: dict[tuple[str, str], asyncio.Event] = {}
        self.reached: set[tuple[str, str]] = set()

    async def call(self, primitive: str, arguments: tuple[Any, ...]) -> Any:
        has_keys = primitive in ("read", "write", "remove", "touch")
        name = (primitive, arguments[1][0] if has_keys else "")
        if _is_inside.get():  # a primitive that the store makes of others
            return await super().call(primitive, arguments)
        await self._hold(name, self.before)
        token = _is_inside.set(True)
        try:
            result = await super().call(primitive, arguments)
        finally:
            _is_inside.reset(token)
        await self._hold(name, self.after)
        return result

    async def _hold(self, name: tuple[str, str], events: dict[tuple[str, str], Any]) -> None:
        event = events.pop(name, None)
        if event is not None:
            self.reached.add(name)
            await event.wait()

    async def is_held(self, *name: str) -> None:
        """Return when this call is held."""
        async with asyncio.timeout(30):
            while name not in self.reached:
                await asyncio.sleep(0)


@pytest.fixture
async def held() -> AsyncIterator[Held]:
    async with Held(clock=ManualClock()) as opened:
        yield opened


@pytest.fixture
async def store(held: Held, tmp_path: Path) -> AsyncIterator[Store]:
    async with WriteBehind(tmp_path / "journal", shutdown_timeout=0).over(held) as opened:
        yield opened


async def agree(store: Store, held: Held) -> None:
    """Check that reads do not change when what is pending has been sent."""
    found = await store.get("k")
    await store.find(WriteBehind).flush()
    assert await store.get("k") == found
    assert await store.count() == len(await held.keys()) == (found is not None)


@pytest.mark.parametrize("name", WHOLE | OF_KEYS)
async def test_what_is_accepted_during_an_operation_is_sent_after_it(
    store: Store, held: Held, name: str
) -> None:
    await store.put("k", "old")
    await store.find(WriteBehind).flush()
    call = (name, "k" if name in OF_KEYS else "")
    held.before[call] = operation_may_go_on = asyncio.Event()
    held.after["write", "k"] = sent = asyncio.Event()
    operating = asyncio.ensure_future((WHOLE | OF_KEYS)[name](store))
    await held.is_held(*call)
    await store.put("k", "new")
    await ManualClock.settle()
    assert held.written() == ["k"]
    operation_may_go_on.set()
    assert await operating
    sent.set()
    assert await store.get("k") == "new"
    await agree(store, held)
    assert await store.get("k") == "new"


@pytest.mark.parametrize("name", WHOLE)
async def test_an_operation_waits_for_what_is_in_flight(
    store: Store, held: Held, name: str
) -> None:
    held.before["write", "other"] = other_may_go = asyncio.Event()
    held.after["write", "k"] = k_may_return = asyncio.Event()
    await store.put("other", 1)
    await held.is_held("write", "other")
    operating = asyncio.ensure_future(WHOLE[name](store))
    await ManualClock.settle()
    await store.put("k", "new")
    other_may_go.set()
    await held.is_held("write", "k")
    await ManualClock.settle()
    assert not operating.done()
    k_may_return.set()
    assert await operating
    assert await store.get("k") is None
    await store.drop_all()
    await agree(store, held)


async def test_an_operation_on_other_keys_waits_for_nothing(store: Store, held: Held) -> None:
    await store.put_many(["a", "b"], [1, 2])
    await store.find(WriteBehind).flush()
    held.after["write", "k"] = sent = asyncio.Event()
    await store.put("k", 1)
    await held.is_held("write", "k")
    assert await store.expire("a", 5)
    held.before["touch", "b"] = touch_may_go_on = asyncio.Event()
    touching = asyncio.ensure_future(store.expire("b", 5))
    await held.is_held("touch", "b")
    sent.set()
    await store.find(WriteBehind).flush()
    assert await held.get("k") == 1
    touch_may_go_on.set()
    assert await touching


async def test_a_cancelled_operation_holds_nothing_up(store: Store, held: Held) -> None:
    held.before["drop_all", ""] = asyncio.Event()
    operating = asyncio.ensure_future(store.drop_all())
    await held.is_held("drop_all", "")
    await store.put("k", "new")
    operating.cancel()
    await asyncio.wait([operating])
    await store.find(WriteBehind).flush()
    assert await held.get("k") == "new"


OF_AN_ENTRY: dict[str, tuple[Operation, object]] = {
    "count": (lambda store: store.count(prefix="k"), 1),
    "keys": (lambda store: store.keys(prefix="k"), ["k"]),
    "collections": (lambda store: store.collections(), ["c"]),
    "delete_where": (lambda store: store.delete_where(prefix="k"), 1),
    "destroy_collection": (lambda store: store.destroy_collection("c"), True),
    "touch": (lambda store: store.expire("k", 5), True),
    "put_if_absent": (lambda store: store.put_if_absent("k", "absent"), False),
}


@pytest.mark.parametrize("name", OF_AN_ENTRY)
async def test_an_operation_finds_an_entry_that_is_replaced_before_it_is_sent(
    store: Store, held: Held, name: str
) -> None:
    operation, result = OF_AN_ENTRY[name]
    collection = "c" if "collection" in name else None
    held.before["write", "other"] = other_may_go = asyncio.Event()
    held.before["write", "k"] = k_may_go = asyncio.Event()
    await store.put("other", 1, collection="c")
    await held.is_held("write", "other")
    await store.delete("other", collection="c")
    await store.put("k", 1, collection=collection)
    operating = asyncio.ensure_future(operation(store))
    await ManualClock.settle()
    await store.put("k", 2, collection=collection)
    await store.put("k", 3, collection=collection)
    other_may_go.set()
    await held.is_held("write", "k")
    await ManualClock.settle()
    assert not operating.done()
    k_may_go.set()
    assert await operating == result
