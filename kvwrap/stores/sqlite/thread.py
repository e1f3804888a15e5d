"""A connection to an SQLite file with a thread of its own, and its transactions."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from kvwrap.stores.sqlite.calls import Call, Calls
from kvwrap.stores.sqlite.errors import FAILURES, Later, OpenTransaction, busy_error, is_busy
from kvwrap.stores.sqlite.file import DatabaseFile
from kvwrap.stores.sqlite.turnstile import Turnstile

T = TypeVar("T")

_PAUSE: Final = 0.002
"""Seconds between two attempts of what waits for other transactions."""

_SHORTEST_PAUSE: Final = 0.0002
"""The same for the process whose turn is next, at first; the pauses grow up to `_PAUSE`."""

_GROUP: Final = 512
"""Calls in one transaction at most, so that other processes do not wait for long."""


class ConnectionThread:
    """A connection, and the thread that uses it, but for short reads by `run_at_once`.

    Changes that wait when a transaction begins go into it together. If one of them fails, the
    transaction is rolled back, and each of its calls gets a transaction of its own, with its own
    result or error.

    Args:
        name: Name of the thread.
        timeout: Seconds to wait for transactions of others.

    Attributes:
        connection: The connection, which a function passed to `run` opens; None before.
        file: The file, which must stay the same one; None for a database in memory.
        turnstile: Turns with other processes; None where there are none.
        finish: Called before each commit.
    """

    connection: sqlite3.Connection | None = None
    file: DatabaseFile | None = None
    turnstile: Turnstile | None = None
    finish: Callable[[sqlite3.Connection], None] | None = None

    def __init__(self, name: str, timeout: float) -> None:
        self._calls = Calls(name, self._work, self._interrupt)
        self._timeout = timeout
        self._alone = 0
        self._in_use = threading.Lock()
        """Held while the connection is used, except for a transaction that changes the file."""

    def run(self, function: Callable[..., T], *args: object) -> Awaitable[T]:
        """Run a function on the thread, and return its result; cancelling as for `change`."""
        return self._calls.make(function, args, changes=False)

    def change(self, function: Callable[..., T], *args: object) -> Awaitable[T]:
        """Run a function in a transaction, perhaps together with others, and return its result.

        If this is cancelled, the function does not start, or it is interrupted and rolled back,
        unless it has ended and its transaction is being committed. `CancelledError` is raised
        after that, so all later calls, on other connections too, see the same state.
        """
        return self._calls.make(function, args, changes=True)

    def run_at_once(self, function: Callable[..., T], *args: object) -> T:
        """Call a function that reads with the connection and the arguments, on this thread.

        Not for a connection that also changes the file.

        Raises:
            Later: The thread uses the connection, or SQLite fails, perhaps since others hold the
                file.
        """
        if not self._in_use.acquire(blocking=False):
            raise Later
        try:
            result = function(self.connection, *args)
            if self.file is not None:
                self.file.check()
        except FAILURES as error:
            raise Later from error
        finally:
            self._in_use.release()
        return result

    async def close(self, close: Callable[[], None]) -> None:
        """Call a function, which closes the connection, after all calls; then end the thread."""

        def close_alone() -> None:
            with self._in_use:
                close()

        await self._calls.close(close_alone)

    def retry_while_busy(self, function: Callable[[], T]) -> T:
        """Call a function until the file is not locked, for up to `timeout` seconds.

        Returns its result. SQLite's own waiting cannot be interrupted.

        Raises:
            Interrupted: The call was cancelled meanwhile.
        """
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return function()
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() >= deadline:
                    raise
            self._calls.check()
            time.sleep(_PAUSE * (0.5 + random.random()))

    def create(self, function: Callable[[sqlite3.Connection], None]) -> None:
        """Run a function in a transaction of its own, within a function passed to `run`."""
        connection = self._connection()
        self.retry_while_busy(lambda: connection.execute("BEGIN IMMEDIATE"))
        try:
            function(connection)
            self.retry_while_busy(lambda: connection.execute("COMMIT"))
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    # -- on the thread -----------------------------------------------------------------

    def _interrupt(self) -> None:
        if self.connection is not None:
            self.connection.interrupt()

    def _work(self) -> None:
        calls = self._calls
        while (first := calls.first()) is not None:
            if not first.changes:
                self._run(calls.take(1))
                continue
            try:
                if not self._begin():
                    continue
            except BaseException as error:
                self._fail(calls.take(_GROUP), error)
                continue
            self._run_group(calls.take(1 if self._alone else _GROUP))

    def _run(self, calls: list[Call]) -> None:
        for call in calls:
            try:
                self._calls.begin(call)
                with self._in_use:
                    call.execute()
                if self.file is not None:
                    self.file.check()
            except BaseException as error:  # whatever it is, the caller gets it
                call.error = error
            self._calls.begin(None)
        self._calls.end(calls)

    def _fail(self, calls: list[Call], error: BaseException) -> None:
        for call in calls:
            call.error = error
        self._calls.end(calls)

    def _begin(self) -> bool:
        """Begin a transaction. Returns False if no change waits any more."""
        connection, turnstile, calls = self._connection(), self.turnstile, self._calls
        started, pause = time.monotonic(), _SHORTEST_PAUSE
        if connection.in_transaction:
            raise OpenTransaction
        if self.file is not None:
            self.file.make_room(connection)
        try:
            while True:
                is_next = turnstile is None or turnstile.enter()
                if is_next:
                    try:
                        connection.execute("BEGIN IMMEDIATE")
                    except sqlite3.OperationalError as error:
                        if not is_busy(error):
                            raise
                    else:
                        return True
                while (first := calls.first()) is not None and first.changes:
                    if time.monotonic() < max(first.since, started) + self._timeout:
                        break
                    self._fail(calls.take(1), busy_error())
                else:
                    return False
                time.sleep((pause if is_next else _PAUSE) * (0.5 + random.random()))
                pause = min(pause * 1.25, _PAUSE)
        finally:
            if turnstile is not None:
                turnstile.leave()

    def _run_group(self, group: list[Call]) -> None:
        calls, connection = self._calls, self._connection()
        self._alone = max(0, self._alone - 1)
        call: Call | None = None
        try:
            for call in group:
                calls.begin(call)
                call.execute()
            calls.begin(None)
            if self.finish is not None:
                self.finish(connection)
            self.retry_while_busy(lambda: connection.execute("COMMIT"))
        except BaseException as error:
            calls.begin(None)
            # After some errors, such as a full disk, SQLite has rolled back automatically.
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            if call is not None and call.is_cancelled:
                group.remove(call)
                call.has_ended = True
            elif len(group) == 1:
                self._fail(group, error)
                return
            else:
                self._alone = len(group)
            calls.put_back(group)
            return
        try:
            if self.file is not None:
                self.file.check()
        except BaseException as error:
            self._fail(group, error)
        else:
            calls.end(group)

    def _connection(self) -> sqlite3.Connection:
        assert self.connection is not None
        return self.connection
