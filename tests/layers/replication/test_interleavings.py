"""Two processes and a third that repairs, in many orders: some sequence explains every result."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from kvwrap import MemoryStore, Store
from kvwrap.layers.replication import Replication
from tests.conftest import SOAK
from tests.layers.interleaving import World, play, some_orders
from tests.layers.linearizability import History
from tests.layers.replication.processes import process

RUNS = 2_000 if SOAK else 120


CONDITIONAL = ("increment", "increment", "put_if_absent", "pop")
CHANGES = ("put", "delete", *CONDITIONAL)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conflicting writers do not wait before they try again: the order is the test's."""
    monkeypatch.setattr(random, "random", lambda: 0.0)


class Processes(World):
    """Several processes with different clocks do random operations on one key."""

    def __init__(
        self, rng: random.Random, operations: tuple[str, ...], *, fails: bool, reads: bool
    ) -> None:
        super().__init__()
        self._shared = [MemoryStore() for _ in range(3)]
        self._history = History(exact_deletes=False)
        self._plans: dict[str, list[str]] = {}
        self._stores: dict[str, Store] = {}
        for name in ("a", "b"):
            failing = rng.sample(["read", "write", "write!"], rng.randrange(3)) if fails else ()
            self._stores[name] = process(
                self.stage,
                self._shared,
                name,
                ahead=rng.choice([-0.2, 0.0, 0.2]),
                failing=failing,
                failing_at=rng.randrange(3),
            )
            choices = (*operations, "get") if reads else operations
            self._plans[name] = rng.choices(choices, k=3)
        self._repairs = process(self.stage, self._shared, "c")

    def actors(self) -> dict[str, Callable[[], Awaitable[None]]]:
        actors: dict[str, Callable[[], Awaitable[None]]] = {
            name: partial(self._act, name) for name in self._plans
        }
        actors["c"] = self._repair
        return actors

    async def _act(self, name: str) -> None:
        for number, operation in enumerate(self._plans[name]):
            takes_value = operation in ("put", "put_if_absent")
            value = 100 * (1 + number) + 1000 * (name == "b")
            await self._history.do(self._stores[name], operation, value if takes_value else None)

    async def _repair(self) -> None:
        await self._repairs.find(Replication).repair_all()

    async def end(self) -> None:
        for store in (*self._stores.values(), self._repairs):
            await self._history.do(store, "get")
        assert self._history.is_linearizable, str(self._history)


@pytest.mark.parametrize("seed", range(3))
async def test_without_failures_all_operations_are_linearizable(seed: int) -> None:
    rng = random.Random(seed)
    await some_orders(
        lambda: Processes(rng, CHANGES, fails=False, reads=True), seed=seed, count=RUNS
    )


@pytest.mark.parametrize("seed", range(3))
async def test_while_a_replica_fails_all_changes_are_linearizable(seed: int) -> None:
    rng = random.Random(100 + seed)
    await some_orders(
        lambda: Processes(rng, CHANGES, fails=True, reads=False), seed=seed, count=RUNS
    )


class AsideThePrimary(Processes):
    """A put misses the replica that decides, while another process increments."""

    def __init__(self, ahead: float) -> None:
        World.__init__(self)
        self._shared = [MemoryStore() for _ in range(3)]
        self._history = History(exact_deletes=False)
        self._plans = {"a": ["put"], "b": ["increment", "increment"]}
        self._stores = {
            "a": process(self.stage, self._shared, "a", failing=["write"], ahead=-ahead),
            "b": process(self.stage, self._shared, "b", ahead=ahead),
        }
        self._repairs = process(self.stage, self._shared, "c")


@pytest.mark.parametrize("ahead", [-0.2, 0.0, 0.2])
async def test_a_put_that_misses_the_first_replica_is_not_lost(ahead: float) -> None:
    rng = random.Random(7)
    for _ in range(RUNS):
        await play(AsideThePrimary(ahead), rng.randrange)
