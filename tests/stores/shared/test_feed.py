"""The feed of a store: one link for many listeners, which is connected again when it is cut."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from math import inf

import pytest

from kvwrap import Change, ChangeKind, StoreTimeout, StoreUnavailable
from kvwrap.core.changes import LOST, Scope
from kvwrap.stores.shared.feed import Feed, Line
from kvwrap.testing import ManualClock

pytestmark = pytest.mark.asyncio


class Backend:
    """A backend that can be down, silent or forgetful, and its links."""

    def __init__(self, *, resumes: bool = False) -> None:
        self.resumes = resumes
        self.links: list[FakeLink] = []
        self.is_down = False
        self.is_silent = False
        self.deaf_in = ""
        self.is_waiting = asyncio.Event()
        self.remembers = resumes
        self.connections = 0
        self.pings = 0
        self.is_catching_up = False
        self.caught_up = asyncio.Event()

    def link(self, line: Line) -> FakeLink:
        self.links.append(FakeLink(self, line))
        return self.links[-1]

    def tell(self, key: str) -> None:
        for link in self.links:
            if link.is_connected:
                link.line.tell(ChangeKind.PUT, None, key)

    def cut(self) -> None:
        for link in self.links:
            link.line.cut()


class FakeLink:
    server = "Fake at localhost:1"

    def __init__(self, backend: Backend, line: Line) -> None:
        self._backend = backend
        self.line = line
        self.is_connected = False
        self._was_connected = False

    @property
    def resumes(self) -> bool:
        return self._backend.resumes

    async def connect(self) -> bool:
        await self._reach("connect")
        self._backend.connections += 1
        self.is_connected = True
        was, self._was_connected = self._was_connected, True
        return was and self._backend.remembers

    async def ping(self) -> None:
        self._backend.pings += 1
        if self._backend.is_catching_up:
            await self._backend.caught_up.wait()
        await self._reach("ping")

    async def _reach(self, call: str) -> None:
        if self._backend.deaf_in == call:
            self._backend.is_waiting.set()
            with suppress(asyncio.CancelledError):  # as `asyncio.wait_for` of Python 3.11 may
                await asyncio.Event().wait()
        if self._backend.is_silent:
            await asyncio.Event().wait()
        if self._backend.is_down:
            raise StoreUnavailable("it is down")

    async def close(self) -> None:
        self.is_connected = False


async def until(holds: Callable[[], object], clock: ManualClock | None = None) -> None:
    async with asyncio.timeout(30):
        while not holds():
            if clock is not None and clock.sleeping:
                await clock.run(1.0)
            await asyncio.sleep(0)


def feed(backend: Backend, clock: ManualClock, *, place: str = "p", timeout: float = 30.0) -> Feed:
    return Feed(place, backend.link, clock, timeout=timeout, owner="FakeStore")


async def test_equal_stores_share_a_link_that_ends_with_the_last_listener() -> None:
    backend, clock, before = Backend(), ManualClock(), asyncio.all_tasks()
    one, two, other = (feed(backend, clock, place=place) for place in ("a", "a", "b"))
    told: list[Change] = []
    subscriptions = [
        await each.subscribe(Scope(prefix=prefix), told.append)
        for each, prefix in ((one, "x"), (one, ""), (two, "x"), (other, "y"))
    ]
    assert len(backend.links) == backend.connections == 2
    backend.tell("x")
    assert told == [Change(ChangeKind.PUT, None, "x")] * 3
    await one.close()
    assert told[3:] == [LOST, LOST]
    backend.tell("x")
    assert told[5:] == [Change(ChangeKind.PUT, None, "x")]
    for subscription in subscriptions:
        await subscription.close()
        assert subscription.heard_at == -inf
    assert not any(link.is_connected for link in backend.links)
    assert asyncio.all_tasks() <= before
    again = await one.subscribe(Scope(), told.append)
    assert len(backend.links) == 3
    await again.close()


async def test_a_cut_is_told_at_once_and_when_the_link_is_back() -> None:
    backend, clock = Backend(), ManualClock()
    told: list[Change] = []
    subscription = await feed(backend, clock).subscribe(Scope(), told.append)
    backend.is_down = True
    backend.cut()
    await until(lambda: told)
    assert told == [LOST]
    await until(lambda: clock.sleeping)
    await clock.run(10.0)  # more attempts, without success
    assert told == [LOST]
    backend.is_down = False
    await until(lambda: len(told) > 1, clock)
    assert told == [LOST, LOST]
    backend.tell("a")
    assert told[2:] == [Change(ChangeKind.PUT, None, "a")]
    await subscription.close()


@pytest.mark.parametrize("remembers", [True, False])
async def test_a_link_that_resumes_loses_only_what_the_backend_forgot(remembers: bool) -> None:
    backend, clock = Backend(resumes=True), ManualClock()
    backend.remembers = remembers
    told: list[Change] = []
    subscription = await feed(backend, clock).subscribe(Scope(), told.append)
    backend.cut()
    await until(lambda: backend.connections == 2, clock)
    await asyncio.sleep(0)
    assert told == ([] if remembers else [LOST])
    await subscription.close()


async def test_a_link_that_resumes_has_heard_nothing_until_it_answers() -> None:
    backend, clock = Backend(resumes=True), ManualClock()
    subscription = await feed(backend, clock).subscribe(Scope(), lambda change: None)
    heard_at = subscription.heard_at
    clock.advance(5.0)
    backend.is_catching_up = True
    backend.cut()
    await until(lambda: backend.connections == 2 and backend.pings == 1, clock)
    assert subscription.heard_at == heard_at  # what was missed may not have been told
    backend.caught_up.set()
    await until(lambda: subscription.heard_at > heard_at)
    await subscription.close()


async def test_the_smallest_bound_decides_how_often_the_link_is_checked() -> None:
    backend, clock = Backend(), ManualClock()
    the_feed = feed(backend, clock)
    patient = await the_feed.subscribe(Scope(), lambda change: None)
    began = clock.monotonic()
    assert patient.heard_at <= began
    asking = await the_feed.subscribe(Scope(bound=3.0), lambda change: None)
    await until(lambda: backend.pings == 1 and clock.sleeping)  # at once, for the smaller bound
    await clock.run(1.0)
    await until(lambda: backend.pings == 2 and clock.sleeping)
    assert asking.heard_at == patient.heard_at == began + 1
    backend.is_silent = True
    await clock.run(1.0)
    await until(lambda: backend.pings == 3)
    assert asking.heard_at == began + 1  # it was asked, and has not answered
    await asking.close()
    await patient.close()


async def test_a_link_without_answers_is_cut() -> None:
    backend, clock = Backend(), ManualClock()
    told: list[Change] = []
    subscription = await feed(backend, clock, timeout=0.01).subscribe(Scope(bound=3.0), told.append)
    backend.is_silent = True
    await until(lambda: clock.sleeping)
    await clock.run(1.0)
    await until(lambda: told)
    assert told == [LOST]
    backend.is_silent = False
    await until(lambda: len(told) == 2, clock)
    await subscription.close()


async def test_a_first_connection_that_fails_raises_and_leaves_nothing() -> None:
    backend, clock, before = Backend(), ManualClock(), asyncio.all_tasks()
    the_feed = feed(backend, clock, timeout=0.01)
    backend.is_down = True
    with pytest.raises(StoreUnavailable, match="it is down"):
        await the_feed.subscribe(Scope(), lambda change: None)
    backend.is_down, backend.is_silent = False, True
    with pytest.raises(StoreTimeout, match=r"Fake at localhost:1 did not answer within 0\.01 s"):
        await the_feed.subscribe(Scope(), lambda change: None)
    assert asyncio.all_tasks() <= before
    backend.is_silent = False
    await (await the_feed.subscribe(Scope(), lambda change: None)).close()


async def test_a_new_listener_tries_a_link_that_is_down_at_once() -> None:
    backend, clock = Backend(), ManualClock()
    the_feed = feed(backend, clock)
    told: list[Change] = []
    first = await the_feed.subscribe(Scope(), told.append)
    backend.is_down = True
    backend.cut()
    await until(lambda: told and clock.sleeping)
    with pytest.raises(StoreUnavailable):
        await the_feed.subscribe(Scope(), told.append)
    backend.is_down = False
    second = await the_feed.subscribe(Scope(), told.append)
    assert LOST in told
    await first.close()
    await second.close()


async def test_a_cancelled_subscriber_leaves_nothing() -> None:
    backend, clock, before = Backend(), ManualClock(), asyncio.all_tasks()
    backend.is_silent = True
    waiting = asyncio.create_task(feed(backend, clock).subscribe(Scope(), lambda change: None))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert asyncio.all_tasks() <= before


@pytest.mark.parametrize("call", ["connect", "ping"])
async def test_a_link_ends_though_its_driver_loses_the_cancellation(call: str) -> None:
    backend, clock, before = Backend(resumes=True), ManualClock(), asyncio.all_tasks()
    subscription = await feed(backend, clock).subscribe(Scope(), lambda change: None)
    backend.deaf_in = call
    backend.cut()
    await backend.is_waiting.wait()
    async with asyncio.timeout(30):
        await subscription.close()
    assert asyncio.all_tasks() <= before
    assert not any(link.is_connected for link in backend.links)
