"""The order in which the changes and reads of one key take effect."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvwrap import Coalesce, Store
from kvwrap.core.serializer import JSON
from tests.layers.coalesce.backend import Backend, at_once, settle
from tests.layers.interleaving import GatedStore, World, every_order, play


async def test_a_read_sees_the_write_before_it_in_the_same_iteration(backend: Backend) -> None:
    store = Coalesce().over(backend)
    await backend.put("a", 0)
    done = await at_once(
        store.put("a", 1), store.get("a"), store.get_many(["a", "b"]), store.delete("a"),
        store.get("a"), store.put("a", 2), store.get("a"),
    )  # fmt: skip
    assert done == [None, 1, [1, None], True, None, None, 2]


async def test_a_cancelled_put_does_not_overtake_the_next(backend: Backend) -> None:
    store = Coalesce().over(backend)
    backend.hold = asyncio.Event()
    cancelled = asyncio.create_task(store.put("a", "old"))
    await settle()
    cancelled.cancel()
    await settle()
    newer = asyncio.create_task(store.put("a", "new"))
    await settle()
    assert len(backend.calls) == 1
    backend.hold.set()
    await newer
    assert await store.get("a") == "new"


DELETIONS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "delete_where": lambda store: store.delete_where(prefix="a", collection="c"),
    "destroy_collection": lambda store: store.destroy_collection("c"),
    "destroy": lambda store: store.destroy(),
}


@pytest.mark.parametrize("deletion", DELETIONS)
async def test_a_deletion_waits_for_the_changes_of_its_keys_only(
    backend: Backend, deletion: str
) -> None:
    store = Coalesce().over(backend)
    backend.hold = asyncio.Event()
    putting = asyncio.create_task(store.put("a", 1, collection="c"))
    await settle()
    assert not await store.destroy_collection("other")
    deleting = asyncio.ensure_future(DELETIONS[deletion](store))
    await settle()
    assert not deleting.done()
    backend.hold.set()
    await asyncio.gather(putting, deleting)
    assert await store.get("a", collection="c") is None


class Ordered(World):
    """Concurrent calls over a backend that serves its calls in any order.

    Every change puts a value of its own. The changes of a key must take effect in the order
    in which they were requested. A read must return none older than the last one requested
    before it that was not cancelled.
    """

    def __init__(self, plans: Sequence[Sequence[Sequence[tuple[str, str]]]], **options: Any):
        super().__init__()
        self.plans = plans
        gates = "read write remove"
        self.far = GatedStore(self.stage, "far", before=gates)
        self.store = Coalesce(**options).over(self.far)
        self.requested: dict[str, list[Any]] = {key: [None] for key in "ab"}
        self.cancelled: set[Any] = set()
        self.effects: dict[str, list[Any]] = {key: [None] for key in "ab"}
        self.count = 0

    async def begin(self) -> None:
        self.far.on_effect = self._took_effect

    def _took_effect(self, call: str, keys: Any, entries: Any) -> None:
        for at, key in enumerate(keys if call != "read" else ()):
            log = self.effects[key]
            if call == "write":
                log.append(JSON.loads(entries[at].body))
                order = [self.requested[key].index(value) for value in log if value != "gone"]
                assert order == sorted(order), f"{key} changed in the order {log}"

    def actors(self) -> dict[str, Callable[[], Awaitable[None]]]:
        def actor(plan: Any) -> Callable[[], Awaitable[None]]:
            async def act() -> None:
                for turn in plan:
                    await asyncio.gather(*(getattr(self, step)(key) for step, key in turn))

            return act

        return {f"{'tuv'[n]}?": actor(plan) for n, plan in enumerate(self.plans)}

    def _request(self, key: str) -> int:
        self.count += 1
        self.requested[key].append(self.count)
        return self.count

    async def _change(self, change: Awaitable[Any], *values: Any) -> None:
        try:
            await change
        except asyncio.CancelledError:
            self.cancelled.update(values)
            raise

    async def put(self, key: str) -> None:
        value = self._request(key)
        await self._change(self.store.put(key, value), value)

    async def put_many(self, key: str) -> None:
        values = [self._request("a"), self._request("b")]
        await self._change(self.store.put_many(["a", "b"], values), *values)

    async def swap(self, key: str) -> None:
        value = self._request(key)
        self.cancelled.add(value)  # it may find another entry, and put nothing
        await self.store.put_if_absent(key, value)

    async def get(self, key: str) -> None:
        self._check(key, self._floor(key), await self.store.get(key))

    async def get_many(self, key: str) -> None:
        floors = [self._floor(key) for key in "ab"]
        for key, floor, value in zip("ab", floors, await self.store.get_many(["a", "b"])):
            self._check(key, floor, value)

    def _floor(self, key: str) -> list[Any]:
        return list(self.requested[key])

    def _check(self, key: str, before: list[Any], value: Any) -> None:
        sure = [at for at, requested in enumerate(before) if requested not in self.cancelled]
        assert self.requested[key].index(value) >= max(sure), f"{key} is {value} after {before}"

    async def end(self) -> None:
        for key in "ab":
            sure = [value for value in self.requested[key] if value not in self.cancelled]
            value = await self.store.get(key)
            assert self.requested[key].index(value) >= self.requested[key].index(sure[-1])
        assert self.store.find(Coalesce).idle
        await self.store.close()
        assert self.store.idle


STEP = st.tuples(
    st.sampled_from(["put", "put", "get", "put_many", "get_many", "swap"]), st.sampled_from("ab")
)
PLAN = st.lists(st.lists(STEP, min_size=1, max_size=3), min_size=1, max_size=3)


@settings(max_examples=150, deadline=None)
@given(plans=st.lists(PLAN, min_size=1, max_size=3), seed=st.integers(0, 9), most=st.integers(1, 3))
async def test_the_order_of_each_key_holds(plans: Any, seed: int, most: int) -> None:
    rng = random.Random(seed)
    for _ in range(4):
        await play(Ordered(plans, max_batch=most), rng.randrange)


@pytest.mark.parametrize(
    "plans",
    [
        [[[("put", "a"), ("put", "a"), ("get", "a")]], [[("put", "a")], [("get", "a")]]],
        [[[("put", "a"), ("put_many", "a"), ("put", "a")]], [[("get", "a")]]],
        [[[("put", "a"), ("swap", "a")]], [[("get", "a")]]],
    ],
)
async def test_every_order_of_the_answers(plans: Any) -> None:
    assert await every_order(lambda: Ordered(plans)) > 20
