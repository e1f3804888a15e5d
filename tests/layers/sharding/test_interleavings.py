"""An entry is moved by several processes while others use it, in many orders."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from kvwrap import MemoryStore, Store
from kvwrap.core.clock import Clock
from kvwrap.layers.sharding import Sharding
from kvwrap.layers.sharding.rendezvous import Rendezvous
from kvwrap.testing import ManualClock
from tests.conftest import SOAK
from tests.layers.connections import Offset, connect_gated
from tests.layers.interleaving import World, some_orders
from tests.layers.linearizability import History

RUNS = 2_000 if SOAK else 150


CHANGES = ("put", "delete", "increment", "put_if_absent", "pop")


def name_of_owner(collection: str | None) -> str:
    """Return the name of a shard that takes the key "k" from a shard "a"."""
    names = ("b", "c", "d", "e", "f", "g", "h")
    return next(name for name in names if Rendezvous(["a", name]).owner(collection, "k") == name)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conflicting moves do not wait before they try again: the order is the test's."""
    monkeypatch.setattr(random, "random", lambda: 0.0)


class Moving(World):
    """Two shards, of which the second one is new, and processes that know both."""

    collection: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.old, self.new = MemoryStore(clock=self.clock), MemoryStore(clock=self.clock)

    def process(
        self, name: str, clock: Clock | None = None, failing: tuple[str, ...] = ()
    ) -> Store:
        old, new = (
            connect_gated(store, clock or self.clock, self.stage, f"{name}-{role}", failing)
            for store, role in ((self.old, "old"), (self.new, "new"))
        )
        shards = {name_of_owner(self.collection): new}
        return Sharding(shards, name="a", previous=["a"]).over(old)

    async def begin(self) -> None:
        await self.old.put("k", 7, collection=self.collection)

    async def rebalance(self, store: Store) -> None:
        await store.find(Sharding).rebalance()


class Processes(Moving):
    """Two processes do random operations while a third moves the entry."""

    def __init__(self, rng: random.Random, *, fails: bool) -> None:
        super().__init__()
        self.old, self.new = MemoryStore(), MemoryStore()
        self.history = History()
        self.history.begin_with(7)
        self.plans: dict[str, list[str]] = {}
        self.stores: dict[str, Store] = {}
        for name in ("p", "q"):
            faults = ["read", "write", "write!", "remove", "remove!"]
            failing = tuple(rng.sample(faults, rng.randrange(3))) if fails else ()
            clock = Offset(rng.choice([-100.0, -0.2, 0.2, 100.0]))
            self.stores[name] = self.process(name, clock, failing)
            self.plans[name] = rng.choices((*CHANGES, "get"), k=3)
        self.mover = self.process("m", Offset(0.0))

    def actors(self) -> dict[str, Callable[[], Awaitable[None]]]:
        actors: dict[str, Callable[[], Awaitable[None]]] = {
            name: partial(self.act, name) for name in self.plans
        }
        actors["m"] = partial(self.rebalance, self.mover)
        return actors

    async def act(self, name: str) -> None:
        for number, operation in enumerate(self.plans[name]):
            takes_value = operation in ("put", "put_if_absent")
            value = 100 * (1 + number) + 1000 * (name == "q")
            await self.history.do(self.stores[name], operation, value if takes_value else None)

    async def end(self) -> None:
        for store in (*self.stores.values(), self.mover):
            await self.history.do(store, "get")
        await self.rebalance(self.mover)
        await self.history.do(self.mover, "get")
        assert self.history.is_linearizable, str(self.history)
        assert await self.old.get("k") is None


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("seed", range(3))
async def test_all_operations_are_linearizable(seed: int, fails: bool) -> None:
    rng = random.Random(seed)
    await some_orders(lambda: Processes(rng, fails=fails), seed=seed, count=RUNS)


class Expiring(Moving):
    """What replaces the entry expires while a slow process still has a copy of the old one."""

    def actors(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {
            "p": partial(self.replace, self.process("p")),
            "m": partial(self.rebalance, self.process("m")),
        }

    async def replace(self, store: Store) -> None:
        await store.put("k", 8, ttl=1)
        self.clock.advance(2)
        assert await store.get("k") is None

    async def end(self) -> None:
        assert await self.process("r").get("k") is None


async def test_an_old_copy_does_not_outlive_what_replaced_it() -> None:
    await some_orders(Expiring, seed=1, count=RUNS)


class Dropping(Moving):
    """The collection is dropped while its entry moves."""

    collection = "c"

    def actors(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {
            "p": partial(self.drop, self.process("p")),
            "m": partial(self.rebalance, self.process("m")),
        }

    async def drop(self, store: Store) -> None:
        assert await store.destroy_collection("c")

    async def end(self) -> None:
        assert await self.process("r").get("k", collection="c") is None


async def test_a_dropped_collection_does_not_come_back() -> None:
    await some_orders(Dropping, seed=1, count=RUNS)


class TwoMovers(Moving):
    """Two processes move the same entry."""

    def actors(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {name: partial(self.rebalance, self.process(name)) for name in ("m", "n")}

    async def end(self) -> None:
        assert await self.new.get("k") == 7
        assert await self.old.get("k") is None


async def test_two_processes_may_move_one_entry() -> None:
    await some_orders(TwoMovers, seed=1, count=RUNS)
