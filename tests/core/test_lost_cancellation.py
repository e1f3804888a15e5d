"""Calls of drivers that lose a cancellation, as `asyncio.wait_for` of Python 3.11 may."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from kvwrap import MemoryStore, StoreTimeout, StoreUnavailable, stack
from kvwrap.core import concurrency, deadlines
from kvwrap.core.computations import Computations
from kvwrap.core.concurrency import cancel_and_wait, uncancel, wait_for
from kvwrap.core.entry import Entry
from kvwrap.core.health import reach
from kvwrap.core.primitives import Collection
from kvwrap.core.refreshes import Refreshes
from kvwrap.core.worker import Worker
from kvwrap.keyring.calling import call
from kvwrap.layers.read_through import flights
from kvwrap.testing import ManualClock


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancel again at once what goes on."""
    for module in (concurrency, deadlines, flights):
        monkeypatch.setattr(module, "CANCEL_AGAIN", 0.001)


class Driver:
    """Waits for ever, and loses cancellations.

    Attributes:
        deaf: How many more cancellations it loses.
        is_waiting: Set once it waits.
    """

    def __init__(self, deaf: int = 2) -> None:
        self.deaf = deaf
        self.is_waiting = asyncio.Event()

    async def call(self) -> None:
        while True:
            self.is_waiting.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.deaf -= 1
                if self.deaf < 0:
                    raise


async def test_tasks_are_cancelled_until_they_end() -> None:
    tasks = [asyncio.create_task(Driver(deaf).call()) for deaf in (0, 1, 3)]
    await asyncio.sleep(0)
    await cancel_and_wait(tasks)
    assert all(task.cancelled() for task in tasks)
    await cancel_and_wait([])


async def test_tasks_that_never_end_are_left_alone_after_some_time() -> None:
    driver = Driver(deaf=10**9)
    task = asyncio.create_task(driver.call())
    await driver.is_waiting.wait()
    await cancel_and_wait([task], timeout=0.01)
    assert not task.done()
    driver.deaf = 0
    await cancel_and_wait([task])


async def test_taking_cancellations_back_leaves_those_of_others() -> None:
    task = asyncio.create_task(Driver(deaf=3).call())
    for expected in (1, 2, 3):
        await asyncio.sleep(0)
        task.cancel()
        assert task.cancelling() == expected
    assert uncancel(task, 2) == 1
    await cancel_and_wait([task])


async def test_what_takes_too_long_ends(clock: ManualClock) -> None:
    driver = Driver()
    waiting = asyncio.create_task(wait_for(clock, 5, driver.call()))
    await driver.is_waiting.wait()
    clock.advance(5)
    assert not await waiting


async def test_a_worker_ends() -> None:
    driver = Driver()
    worker = Worker(driver.call, lambda: True)
    worker.start()
    await driver.is_waiting.wait()
    await worker.cancel()
    assert worker.idle


async def test_computations_in_the_background_end(clock: ManualClock) -> None:
    driver = Driver()
    refreshes = Refreshes(clock, Computations(clock))
    refresh = refreshes.begin((None, "k"), driver.call, 0, None)
    await driver.is_waiting.wait()
    await refreshes.close()
    assert refresh.task.cancelled()


class Far(MemoryStore):
    """A store whose reads wait for a driver."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver()
        self.look_up = None

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        await self.driver.call()
        return await super().read(collection, keys)


async def test_reads_of_the_far_store_end() -> None:
    far = Far()
    store = stack().read_through(MemoryStore, ttl=60).silence("near-not-nearer").over(far)
    await store.open()
    reading = asyncio.create_task(store.get("k"))
    await far.driver.is_waiting.wait()
    await store.close()
    with pytest.raises(StoreUnavailable, match="was closed while it read"):
        await reading
    assert reading.cancelling() == 0


async def test_the_timeout_of_a_layer_ends() -> None:
    store = stack().timeout(0.01).over(Far())
    with pytest.raises(StoreTimeout):
        await store.get("k")


def test_the_timeout_of_a_layer_ends_in_each_event_loop() -> None:
    far = Far()
    store = stack().timeout(0.01).over(far)
    for _ in range(2):
        far.driver = Driver()
        with pytest.raises(StoreTimeout):
            asyncio.run(store.get("k"))


async def test_keys_that_are_not_fetched_in_time_are_given_up() -> None:
    with pytest.raises(StoreTimeout, match="must return within"):
        await call(Driver().call, role="the function", bound=0.01)


async def test_a_check_that_is_not_answered_ends() -> None:
    class Silent(MemoryStore):
        async def check(self) -> None:
            await Driver().call()

    (found,) = await reach(Silent(), timeout=0.01)
    assert found.error == "no answer in 0.01 s"
