"""Requests about an index: sent to servers that can be reached, and again where one is too busy."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Final

from kvwrap.stores.elasticsearch.clients import Answer, HTTPClient, Unreachable

_MISSING: Final = "index_not_found_exception"
_BLOCKED: Final = "cluster_block_exception"
_FULL: Final = "/12/"
"""In the reason of a block that is set when a disk is nearly full."""
_WITHOUT_SHARD: Final = frozenset(
    {"no_shard_available_action_exception", "search_phase_execution_exception"}
)
"""Errors of reads while a shard starts or moves, with the status 503."""
_FOREIGN: Final = "of another program"
_FIRST_WAIT, _LONGEST_WAIT = 0.02, 1.0
"""Seconds before a request is sent again for which a server was too busy."""


class Refused(Exception):
    """A server refused a request.

    Attributes:
        status: The status of HTTP.
        kind: The server's name of the error, or an empty text.
        is_full: True if the disk is nearly full, so that the index is read-only.
    """

    def __init__(self, status: int, kind: str, *, is_full: bool = False) -> None:
        super().__init__(f"{status} {kind}")
        self.status = status
        self.kind = kind
        self.is_full = is_full

    @classmethod
    def of(cls, status: int, error: object) -> Refused:
        """Return the refusal of an answer or of an item in it."""
        kind = reason = ""
        if isinstance(error, dict):
            kind, reason = str(error.get("type", "")), str(error.get("reason", ""))
        return cls(status, kind, is_full=kind == _BLOCKED and _FULL in reason)

    @property
    def is_busy(self) -> bool:
        """True if nothing was done, and the same may be possible a moment later."""
        is_starting = self.status == 503 and self.kind in _WITHOUT_SHARD
        return is_starting or (self.status == 429 and not self.is_full)

    @property
    def is_block(self) -> bool:
        """True if an administrator or the cluster blocks the index."""
        return self.kind == _BLOCKED

    @property
    def is_missing_index(self) -> bool:
        """True if the index does not exist."""
        return self.status == 404 and self.kind == _MISSING


class Requests:
    """Sends requests about an index.

    Args:
        client: A client of the servers.
        alias: The name of the index in paths.
        patience: Seconds for which a request is sent again to a server that is too busy.
        servers: The number of servers, of which another one is tried if one cannot be reached.
    """

    def __init__(self, client: HTTPClient, alias: str, *, patience: float, servers: int) -> None:
        self.client = client
        self.patience = patience
        self._path = f"/{alias}"
        self._servers = servers

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        has: str = "",
        accepted: Sequence[int] = (),
        may_miss: bool = False,
    ) -> Answer:
        """Send a request about the index, and return the answer.

        Args:
            method: The method of HTTP.
            path: The path behind the index.
            body: The body, as JSON.
            has: A field of every answer to such a request.
            accepted: Statuses to return besides those of a success.
            may_miss: As for `HTTPClient.send`.

        Raises:
            Refused: The status is another one, or the answer is not one to such a request.
        """
        deadline = time.monotonic() + self.patience
        attempt = 0
        while True:
            answer = await self.send(method, f"{self._path}{path}", body, may_miss=may_miss)
            if answer.status < 300 or answer.status in accepted:
                is_own = isinstance(answer.body, dict) and (
                    has in answer.body or not has or answer.status >= 300
                )
                if not is_own:
                    raise Refused(answer.status, _FOREIGN)
                return answer
            refusal = refusal_of(answer)
            if not refusal.is_busy or time.monotonic() >= deadline:
                raise refusal
            await pause(attempt)
            attempt += 1

    async def send(
        self, method: str, path: str, body: bytes | None = None, *, may_miss: bool = False
    ) -> Answer:
        """Send a request, to another server if one cannot be reached: nothing is sent twice."""
        others = self._servers - 1
        while True:
            try:
                return await self.client.send(method, path, body, may_miss=may_miss)
            except Unreachable as error:
                if error.was_sent or others <= 0:
                    raise
                others -= 1


def refusal_of(answer: Answer) -> Refused:
    """Return the refusal in an answer."""
    error = answer.body.get("error") if isinstance(answer.body, dict) else None
    return Refused.of(answer.status, error)


async def pause(attempt: int) -> None:
    """Wait before another attempt."""
    longest = min(_FIRST_WAIT * 2**attempt, _LONGEST_WAIT)
    await asyncio.sleep(random.uniform(longest / 2, longest))
