"""Transactions that write, each for all the calls that wait for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from kvwrap.core.threads import Answer, GivenUp
from kvwrap.errors import KvwrapError, StoreTimeout
from kvwrap.stores.lmdb.environment import Environment

T = TypeVar("T")

_MOST_CALLS: Final = 1000
"""Calls in one transaction; more than these would make the first of them wait for too long."""


class Call(Generic[T]):
    """A call that waits for its transaction.

    Args:
        function: A function of the transaction. If it raises an error of kvwrap, it must have
            changed nothing.
        needs_room: True if it adds something.

    Attributes:
        answer: Its result, for the task that waits for it.
    """

    __slots__ = ("answer", "function", "needs_room")

    def __init__(self, function: Callable[[Any], T], *, needs_room: bool) -> None:
        self.function = function
        self.needs_room = needs_room
        self.answer = Answer()

    def expire(self) -> None:
        """Take the call back, unless it has begun."""
        if self.answer.give_up() and not self.answer.future.done():
            self.answer.future.set_exception(GivenUp())


class Writer:
    """Runs calls in transactions on the environment's thread.

    Those that wait while another transaction is committed share the next one, and with it the
    wait for the disk (group commit).

    Args:
        environment: The environment.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._waiting: deque[Call[Any]] = deque()

    async def run(self, call: Call[T]) -> T:
        """Run a call and return its result, after the commit.

        If this is cancelled, the call never begins, or it is carried out to its end first. So
        all later calls see the same state.

        Raises:
            StoreTimeout: Other transactions took longer than the timeout. The call never begins.
        """
        answer = call.answer
        self._waiting.append(call)
        self._environment.writer.post(self._run_waiting)
        timeout = self._environment.options.timeout
        timer = asyncio.get_running_loop().call_later(timeout, call.expire)
        try:
            return await answer.future  # type: ignore[no-any-return]  # the function's own
        except asyncio.CancelledError:
            if not answer.give_up():
                await answer.wait_for_end()
            raise
        except GivenUp:
            raise StoreTimeout(
                "an LMDB environment must be free of other transactions that write within "
                f"timeout={timeout:g} seconds; they took longer. Give the store a longer "
                "timeout, or make the other transactions shorter"
            ) from None
        finally:
            timer.cancel()

    def _run_waiting(self) -> None:
        if not self._waiting:  # an earlier transaction has taken the call
            return
        calls: list[Call[Any]] = []
        try:
            self._run_together(calls)
        except BaseException as error:
            calls = calls or self._claim()
            if len(calls) > 1 and isinstance(error, Exception):
                self._run_one_by_one(calls)
                return
            for call in calls:
                call.answer.set_exception(error)

    def _run_one_by_one(self, calls: list[Call[Any]]) -> None:
        """Run each call in a transaction of its own, so that the error of one is its own."""
        for call in calls:
            try:
                self._run_together([call])
            except BaseException as error:
                call.answer.set_exception(error)

    def _claim(self) -> list[Call[Any]]:
        """Take calls that wait, except those that were cancelled. They cannot be from here on."""
        calls: list[Call[Any]] = []
        while self._waiting and len(calls) < _MOST_CALLS:
            call = self._waiting.popleft()
            if call.answer.set_running_or_notify_cancel():
                calls.append(call)
        if self._waiting:
            self._environment.writer.post(self._run_waiting)
        return calls

    def _run_together(self, calls: list[Call[Any]]) -> None:
        """Run calls in one transaction; if there are none, those that wait once it has begun.

        Raises:
            Exception: The transaction was aborted. `calls` has the calls that were in it.
        """
        environment = self._environment
        outcomes = None
        while outcomes is None:
            try:
                outcomes = self._attempt(calls)
            except environment.driver.MapResizedError:
                environment.adopt_map()
            except environment.driver.MapFullError:
                if not environment.make_space():
                    raise
        for call, (result, error) in zip(calls, outcomes, strict=True):
            if error is None:
                call.answer.set_result(result)
            else:
                call.answer.set_exception(error)

    def _attempt(self, calls: list[Call[Any]]) -> list[tuple[Any, KvwrapError | None]]:
        environment = self._environment
        environment.gate.enter()
        try:
            # Waits for the transactions of other threads and processes.
            entries = environment.databases and environment.databases.entries
            with environment.handle.begin(db=entries, write=True, buffers=True) as transaction:
                if not calls:
                    calls += self._claim()
                environment.check_files()
                return [self._outcome(call, transaction) for call in calls]
        finally:
            environment.gate.leave()

    def _outcome(self, call: Call[Any], transaction: Any) -> tuple[Any, KvwrapError | None]:
        try:
            result = call.function(transaction)
        except KvwrapError as error:
            return None, error
        if call.needs_room:
            self._environment.ensure_room(transaction)
        return result, None
