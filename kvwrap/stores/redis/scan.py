"""Enumerating the keys with a prefix, step by step."""

from __future__ import annotations

from typing import Any, Literal

from kvwrap.core.paging import PAGE_SIZE
from kvwrap.core.primitives import KeyRange, Page
from kvwrap.stores.redis.keys import pattern
from kvwrap.stores.redis.scripts import PAGE, RANGE, Script
from kvwrap.stores.redis.server import Server

MOST_REPEATED = 1000
"""Positions that a scan may meet again: a server that resizes its table goes back a few."""


class Scan:
    """A position in an enumeration of keys, which is also the cursor of a listing.

    A position keeps the page that begins there, so that the page can be requested again: its names
    have been seen by then, and would be left out.

    Attributes:
        position: Cursor of Redis's SCAN command; b"0" at the beginning.
        is_complete: True after the last step.
        seen: Names that earlier pages contain, since SCAN may return a name several times.
        visited: The positions so far.
        repeated: How many steps led to one of them.
        page: The page that begins here; None before it is read.
    """

    def __init__(self) -> None:
        self.position = b"0"
        self.is_complete = False
        self.seen: set[bytes] = set()
        self.visited: set[bytes] = set()
        self.repeated = 0
        self.page: Page | None = None

    def copy(self) -> Scan:
        """Return another scan at the same position, to take the next step with."""
        scan = Scan()
        scan.position, scan.seen, scan.visited = self.position, self.seen, self.visited
        scan.repeated = self.repeated
        return scan

    async def step(
        self, server: Server, prefix: str, mode: Literal["list", "drop"], *, now: float
    ) -> Any:
        """Advance by one step.

        Args:
            server: The server to scan.
            prefix: Prefix of the names.
            mode: "list" to list the names of live entries; "drop" to delete all entries.
            now: Time at which entries are live or expired, in Unix seconds.

        Returns:
            The names of live entries, or how many live entries were deleted.
        """
        return await self._run(server, PAGE, prefix, now, mode, lists=mode == "list")

    async def step_through(
        self,
        server: Server,
        prefix: str,
        key_range: KeyRange,
        mode: Literal["count", "drop"],
        *,
        now: float,
    ) -> int:
        """Advance by one step through a range of keys.

        Args:
            server: The server to scan.
            prefix: What the names of the keys have before them.
            key_range: The keys.
            mode: "count" to count live entries; "drop" to delete all entries.
            now: Time at which entries are live or expired, in Unix seconds.

        Returns:
            How many live entries were found; for "drop", how many were deleted.
        """
        bounds = (key_range.start or "", key_range.end or "")
        found: int = await self._run(
            server, RANGE, prefix + key_range.prefix, now, mode, len(prefix.encode()), *bounds
        )
        return found

    async def _run(
        self,
        server: Server,
        script: Script,
        prefix: str,
        now: float,
        *arguments: Any,
        lists: bool = False,
    ) -> Any:
        call = (0, self.position, pattern(prefix), PAGE_SIZE, repr(now * 1000), *arguments)
        (answer,) = await server.run_script(script, [call])
        step = server.checked_answer(answer)
        if (
            not isinstance(step, list)
            or len(step) != 2
            or not isinstance(step[0], bytes)
            or not (_are_names(step[1]) if lists else isinstance(step[1], int))
        ):
            raise server.wrong_answer()
        self.position, found = step
        self.is_complete = self.position == b"0"
        self.repeated += self.position in self.visited
        self.visited.add(self.position)
        if self.repeated > MOST_REPEATED:
            raise server.endless_scan()
        return found


def _are_names(found: object) -> bool:
    return isinstance(found, list) and all(isinstance(name, bytes) for name in found)
