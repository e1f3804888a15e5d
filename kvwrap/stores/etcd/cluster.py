"""The servers of etcd, of which each answers for all, and what a failed call says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from kvwrap.core.concurrency import KeyedLocks
from kvwrap.core.deadlines import time_limit
from kvwrap.stores.etcd.leases import Leases
from kvwrap.stores.etcd.lines import Line, NotSent
from kvwrap.stores.etcd.protocol import driver
from kvwrap.stores.etcd.requests import Fields, fenced

NO_LEADER: Final = "etcdserver: no leader"
_LEARNER: Final = "etcdserver: rpc not supported for learner"
_LEADER_CHANGED: Final = "etcdserver: leader changed"
_OLD_TOKENS: Final = frozenset(
    {"etcdserver: invalid auth token", "etcdserver: revision of auth store is old"}
)
_ELECTION_POLL: Final = 0.05
"""Seconds between requests while a leader is elected."""


class Cluster:
    """Calls the servers, one of them as long as it answers.

    A server that has no leader, or cannot be reached, is followed by the next one. Only a request
    that was refused or not sent is repeated there, or one that reads.

    Args:
        open_lines: Functions that make a connection, one for each server.
        fence: A key that no entry has, for `commit`.
        login: Username and password; None for a server without users.
        patience: Seconds to wait for an answer, and for a leader; None for no limit.
    """

    def __init__(
        self,
        open_lines: Sequence[Callable[[], Line]],
        *,
        fence: bytes,
        login: tuple[str, str] | None,
        patience: float | None,
    ) -> None:
        self._open_lines = open_lines
        self._lines: list[Line | None] = [None] * len(open_lines)
        self._retired: list[Line] = []
        self._current = 0
        self._fence = fence
        self._fence_revision = 0
        self._is_in_doubt = False
        self._fencing = KeyedLocks()
        self._login = login
        self._token: str | None = None
        self._logging_in = KeyedLocks()
        self._patience = patience
        self.leases = Leases(self._grant)

    async def read(self, name: str, fields: Fields) -> Any:
        """Call a method that changes nothing. Returns its response."""
        return await self._call(name, fields, is_write=False)

    async def open_watch(self) -> Any:
        """Open a stream over which changes are told, with the server that answered last."""
        line = self._lines[self._current] or self._open(self._current)
        return await line.open_watch(self._metadata(self._token))

    async def commit(self, operations: Sequence[Fields]) -> Sequence[Any]:
        """Carry out operations in one transaction. Returns their responses.

        A server that did not answer may do so later, and carry out what it was sent before. It is
        refused then, so that it does not replace what was written since: every transaction is
        under the condition that a key, the fence, is as it was. The fence is written when a write
        was given up, before the next one.
        """
        while True:
            if self._is_in_doubt:
                await self._move_fence()
            fields = fenced(self._fence, self._fence_revision, operations)
            answer = await self._call("Txn", fields, is_write=True)
            responses: Sequence[Any] = answer.responses
            if answer.succeeded:
                return responses
            found = responses[0].response_range.kvs  # of another client
            self._fence_revision = found[0].mod_revision if found else 0

    async def _move_fence(self) -> None:
        async with self._fencing.hold("fence", shares_errors=True):
            if self._is_in_doubt:
                self._is_in_doubt = False  # unless it fails, or another write is given up
                answer = await self._call("Put", {"key": self._fence}, is_write=True)
                self._fence_revision = answer.header.revision

    async def _call(self, name: str, fields: Fields, *, is_write: bool) -> Any:
        if self._login is None:
            return await self._ask(name, fields, None, is_write=is_write)
        while True:
            is_new = self._token is None
            token = self._token or await self._authenticate(*self._login)
            try:
                return await self._ask(name, fields, token, is_write=is_write)
            except driver("grpclib").GRPCError as error:
                if error.message not in _OLD_TOKENS or is_new:
                    raise
                if self._token == token:  # nobody has another one meanwhile
                    self._token = None

    async def _authenticate(self, username: str, password: str) -> str:
        async with self._logging_in.hold("login", shares_errors=True):
            if self._token is None:
                fields = {"name": username, "password": password}
                answer = await self._ask("Authenticate", fields, None, is_write=False)
                self._token = answer.token
            return self._token

    async def _grant(self, seconds: int) -> int:
        lease: int = (await self._call("LeaseGrant", {"TTL": seconds}, is_write=True)).ID
        return lease

    async def _ask(self, name: str, fields: Fields, token: str | None, *, is_write: bool) -> Any:
        metadata = self._metadata(token)
        count = len(self._lines)
        clock = asyncio.get_running_loop().time
        start, patience = clock(), self._patience
        # A read that is not answered is repeated elsewhere, and has time for that.
        limit = None if is_write or count == 1 or patience is None else patience / count
        failures: list[Exception] = []
        election: Exception | None = None
        while True:
            has_election = False
            for _ in range(count):
                index = self._current
                line = self._lines[index] or self._open(index)
                try:
                    if limit is None:
                        return await line.call(name, fields, metadata)
                    with time_limit(limit):
                        return await line.call(name, fields, metadata)
                except asyncio.CancelledError:
                    self._is_in_doubt |= is_write
                    if patience is not None and clock() - start >= patience:
                        self._leave(index, line, TimeoutError())
                    raise
                except Exception as error:
                    self._leave(index, line, error)
                    is_refused, is_outage = _is_refused(error), _is_outage(error)
                    self._is_in_doubt |= is_write and is_outage and not is_refused
                    if not is_refused and (is_write or not is_outage):
                        raise
                    failures.append(error)
                    if _is_election(error):
                        election, has_election = error, True
            # While a leader is elected, and some server says so, there will be one.
            if not has_election or (patience is not None and clock() - start >= patience):
                raise election or failures[-1]
            await asyncio.sleep(_ELECTION_POLL)

    @staticmethod
    def _metadata(token: str | None) -> dict[str, str]:
        # A server that is cut off from the others refuses at once, instead of waiting for them.
        return {"hasleader": "true", **({} if token is None else {"token": token})}

    def _open(self, index: int) -> Line:
        line = self._lines[index] = self._open_lines[index]()
        return line

    def _leave(self, index: int, line: Line, error: Exception) -> None:
        """Go to the next server after an outage. A line without answers is replaced."""
        if not _is_outage(error):
            return
        if self._current == index:
            self._current = (index + 1) % len(self._lines)
        if self._lines[index] is line and not isinstance(error, driver("grpclib").GRPCError):
            self._lines[index] = None
            line.retire()
            self._retired = [each for each in (*self._retired, line) if not each.is_idle]

    def close(self) -> None:
        """Close all connections."""
        for line in self._all_lines():
            line.close()

    def abandon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close the connections of an event loop that no longer runs."""
        for line in self._all_lines():
            line.abandon(loop)

    def _all_lines(self) -> list[Line]:
        return [*self._retired, *(line for line in self._lines if line is not None)]


def _is_refused(error: Exception) -> bool:
    """Return True if the request was not carried out, and another server may take it."""
    return isinstance(error, NotSent) or getattr(error, "message", None) in (NO_LEADER, _LEARNER)


def _is_election(error: Exception) -> bool:
    return getattr(error, "message", None) in (NO_LEADER, _LEADER_CHANGED)


def _is_outage(error: Exception) -> bool:
    """Return True if the server is gone, does not answer, or cannot for now."""
    if isinstance(error, driver("grpclib").GRPCError):
        status = driver("grpclib").Status
        return error.status in (status.UNAVAILABLE, status.DEADLINE_EXCEEDED)
    return isinstance(error, (NotSent, TimeoutError, *transport_errors()))


def transport_errors() -> tuple[type[Exception], ...]:
    """Return the errors of the driver for a connection that was lost or is not one of gRPC."""
    exceptions = driver("grpclib.exceptions")
    return (
        OSError,
        exceptions.StreamTerminatedError,
        exceptions.ProtocolError,
        driver("h2.exceptions").H2Error,
    )
