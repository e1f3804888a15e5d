"""Telling changes to many listeners: of a store in this process, or over one link to a backend."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Hashable
from contextvars import Context
from math import inf
from typing import Final, Protocol
from weakref import WeakSet

from kvwrap.core.changes import ALL, LOST, All, Change, ChangeKind, Listener, Scope
from kvwrap.core.clock import Clock
from kvwrap.core.concurrency import cancel_and_wait, is_abandoned, wait_for
from kvwrap.core.deadlines import time_limit
from kvwrap.errors import KvwrapError, StoreTimeout, StoreUnavailable

_log = logging.getLogger("kvwrap.feed")

_UNASKED_BOUND: Final = 30.0
"""Seconds within which a dead link is noticed if no listener asks for less."""
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 5.0
"""Seconds between two attempts to connect again."""


class Subscribed:
    """A listener with its scope: what `subscribe` of a store returns."""

    def __init__(self, listeners: Listeners, scope: Scope, listener: Listener) -> None:
        self.scope = scope
        self.loop = asyncio.get_running_loop()
        self._listeners: Listeners | None = listeners
        self._listener = listener

    @property
    def heard_at(self) -> float:
        """The moment before which every change has been told, by the store's clock."""
        return -inf if self._listeners is None else self._listeners.heard_at

    def tell(self, change: Change) -> None:
        """Tell the listener a change, in its event loop."""
        if self._listeners is None:
            return
        if self.loop is asyncio._get_running_loop():
            self._listener(change)
        elif is_abandoned(self.loop):
            self._listeners.told.remove(self)
            self._listeners = None
        else:
            self.loop.call_soon_threadsafe(self.tell, change)

    async def close(self) -> None:
        """End it: nothing is told afterwards. A second call does nothing."""
        listeners, self._listeners = self._listeners, None
        if listeners is not None:
            await listeners.remove(self)


class Listeners:
    """Those who are told the changes of one store.

    Attributes:
        told: They. It stays one and the same list, and is empty if there is nobody to tell.
        heard_at: As for `kvwrap.core.changes.Subscription`.
    """

    def __init__(self) -> None:
        self.told: list[Subscribed] = []
        self.heard_at = inf

    def add(self, scope: Scope, listener: Listener) -> Subscribed:
        """Add a listener."""
        subscribed = Subscribed(self, scope, listener)
        self.told.append(subscribed)
        return subscribed

    async def remove(self, subscribed: Subscribed) -> None:
        """Remove a listener."""
        self.told.remove(subscribed)

    def tell(self, kind: ChangeKind, collection: str | None, key: str) -> None:
        """Tell a change to all whose scope covers it."""
        change: Change | None = None
        for each in tuple(self.told):
            if each.scope.covers(collection, key):
                if change is None:
                    change = Change(kind, collection, key)
                each.tell(change)

    def lose(self, collection: str | All | None = ALL) -> None:
        """Tell that anything may have changed, or anything in one collection."""
        for each in tuple(self.told):
            if collection is ALL or each.scope.covers_collection(collection):
                each.tell(LOST)

    async def close(self) -> None:
        """Tell all that what follows is lost, and end their subscriptions."""
        for each in tuple(self.told):
            each.tell(LOST)
            await each.close()


class Link(Protocol):
    """A connection over which a backend tells changes to one feed. A store's class makes it.

    It calls `tell` and `lose` of its feed for what it hears, and `cut` when it is broken. The
    feed calls its methods one after another.
    """

    @property
    def server(self) -> str:
        """What messages call the backend, such as "Redis at localhost:6379"."""

    @property
    def resumes(self) -> bool:
        """Whether a new connection may continue where the previous one ended."""

    async def connect(self) -> bool:
        """Connect; return when every later change will be told.

        Returns True if nothing was missed since the previous connection. Raises a `KvwrapError`
        or an `OSError` if the backend does not answer.
        """

    async def ping(self) -> None:
        """Return when everything that was changed before the call has been told.

        Raises an error if the backend does not answer over this connection.
        """

    async def close(self) -> None:
        """Disconnect. The link may be asked to connect again."""


class Line(Listeners):
    """One link with all its listeners, connected again when it is cut.

    Args:
        make_link: Returns the link of this line.
        clock: The time source.
        timeout: Seconds that connecting, and an answer, may take; None for no limit.
        owner: The name of the store, for errors.
        on_end: Called when the last listener has gone.
    """

    def __init__(
        self,
        make_link: Callable[[Line], Link],
        clock: Clock,
        timeout: float | None,
        owner: str,
        on_end: Callable[[], object],
    ) -> None:
        super().__init__()
        self.heard_at = -inf
        self.is_ending = False
        self._clock = clock
        self._timeout = timeout
        self._owner = owner
        self._on_end = on_end
        self._link = make_link(self)
        self._is_up = False
        self._is_cut = False
        self._wake = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None

    def cut(self) -> None:
        """Connect again: the link is broken."""
        self._is_cut = True
        self._wake.set()

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscribed:
        """Add a listener; return when every later change will be told to it.

        Raises:
            StoreUnavailable: The backend does not answer.
        """
        subscribed = self.add(scope, listener)
        self._wake.set()  # a link that is down is tried at once, and a shorter bound used
        if not self._is_up:
            connected = asyncio.get_running_loop().create_future()
            self._waiting.append(connected)
            if self._task is None:
                self._task = asyncio.create_task(self._run(), context=Context())
            try:
                await connected
            except BaseException:
                await subscribed.close()
                raise
        return subscribed

    async def remove(self, subscribed: Subscribed) -> None:
        """Remove a listener. The last one ends the link."""
        await super().remove(subscribed)
        if self.told or self.is_ending:
            return
        self.is_ending = True
        self._on_end()
        if self._task is not None and not is_abandoned(self._task.get_loop()):
            # A driver that waits by `asyncio.wait_for` may lose the cancellation (Python 3.11).
            self._wake.set()
            await cancel_and_wait((self._task,))

    async def _run(self) -> None:
        failures = 0
        was_up = False
        try:
            while not self.is_ending:
                self._is_cut = False
                self._wake.clear()
                began = self._clock.monotonic()
                try:
                    with time_limit(self._timeout):
                        resumed = await self._link.connect()
                except Exception as error:
                    await self._fail(error)
                    failures += 1
                    pause = min(_FIRST_PAUSE * 2 ** min(failures, 10), _LONGEST_PAUSE)
                    await wait_for(self._clock, pause * random.random(), self._wake.wait())
                    continue
                failures = 0
                self._is_up = True
                if not resumed:
                    self.heard_at = began
                    if was_up:
                        self.lose()
                was_up = True
                self._settle(None)
                # What a link that resumes has missed is told only now.
                await self._listen(at_once=resumed)
                self._is_up = False
                await self._disconnect()
                if not self._link.resumes:
                    self.lose()
        finally:
            self._is_up = False
            await self._disconnect()

    async def _listen(self, *, at_once: bool) -> None:
        """Check the link again and again, the first time `at_once` or later, until it is cut."""
        while not (self._is_cut or self.is_ending):
            bounds = [each.scope.bound or _UNASKED_BOUND for each in self.told]
            self._wake.clear()
            if not at_once:
                interval = min(bounds, default=_UNASKED_BOUND) / 3
                await wait_for(self._clock, interval, self._wake.wait())
            at_once = False
            if self._is_cut:
                return
            began = self._clock.monotonic()
            try:
                with time_limit(self._timeout):
                    await self._link.ping()
            except Exception as error:
                self._log("does not answer any more", error)
                return
            self.heard_at = began

    async def _fail(self, error: Exception) -> None:
        """Give up an attempt to connect; those who wait for it get the error."""
        if isinstance(error, TimeoutError) and not isinstance(error, KvwrapError):
            error = StoreTimeout(
                f"{self._link.server} did not answer within {self._timeout} seconds: check the "
                "server's load and the network, or give the store a longer timeout",
                store=self._owner,
            )
        elif not isinstance(error, KvwrapError):
            self._log("cannot be reached", error)
            failure = StoreUnavailable(
                f"changes of {self._link.server} cannot be watched", store=self._owner
            )
            failure.__cause__ = error
            error = failure
        self._settle(error)
        await self._disconnect()

    async def _disconnect(self) -> None:
        try:
            await self._link.close()
        except Exception as error:
            self._log("was not left in order", error)

    def _settle(self, error: Exception | None) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    def _log(self, what: str, error: Exception) -> None:
        expected = isinstance(error, KvwrapError | OSError | TimeoutError)
        _log.log(
            logging.INFO if expected else logging.ERROR,
            "%s: the backend %s, so changes are not told until it is back (%s)",
            self._owner,
            what,
            type(error).__name__,
            exc_info=None if expected else error,
        )


class Feed:
    """The changes that a backend tells to a store, over a link that equal stores share.

    The link is made for the first listener and ends with the last. When it is cut it is made
    again, after growing pauses. What was missed is told as `LOST`: at the cut, and when the link
    is back. It is checked in a third of the smallest `Scope.bound`.

    Args:
        place: Says which link this is: where the entries are, and with which credentials. Stores
            with equal ones share a link, in one event loop.
        make_link: Makes the link. It must not use what closing the store closes.
        clock: The store's clock.
        timeout: Seconds that connecting, and an answer, may take; None for no limit.
        owner: The store's name, for errors.
    """

    def __init__(
        self,
        place: Hashable,
        make_link: Callable[[Line], Link],
        clock: Clock,
        *,
        timeout: float | None,
        owner: str,
    ) -> None:
        self._place = (place, id(clock))
        self._make_link = make_link
        self._clock = clock
        self._timeout = timeout
        self._owner = owner
        self._subscribed: WeakSet[Subscribed] = WeakSet()

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscribed:
        """Do the primitive `subscribe`."""
        place = (asyncio.get_running_loop(), self._place)
        line = _lines.get(place)
        if line is None:
            for other in [each for each in _lines if is_abandoned(each[0])]:
                del _lines[other]

            def end() -> None:
                if _lines.get(place) is line:
                    del _lines[place]

            line = Line(self._make_link, self._clock, self._timeout, self._owner, end)
            _lines[place] = line
        subscribed = await line.subscribe(scope, listener)
        self._subscribed.add(subscribed)
        return subscribed

    async def close(self) -> None:
        """End the subscriptions of this store: all are told `LOST`."""
        for subscribed in list(self._subscribed):
            subscribed.tell(LOST)
            await subscribed.close()


_lines: dict[tuple[asyncio.AbstractEventLoop, Hashable], Line] = {}
"""The links of this process, by event loop and place."""
