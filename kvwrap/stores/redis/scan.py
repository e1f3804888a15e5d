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

MOST_BEGINNINGS = 100
"""How often a scan may begin from the start, since keys belong to other servers meanwhile."""


class Scan:
    """A position in an enumeration of keys, which is also the cursor of a listing.

    A position keeps the page that begins there, so that the page can be requested again: its names
    have been seen by then, and would be left out.

    Attributes:
        position: Cursor of Redis's SCAN command; b"0" at the beginning.
        is_complete: True after the last step.
        count: How many live entries were found or deleted, where they are not listed.
        seen: Names that earlier pages contain, since SCAN may return a name several times.
        visited: The positions so far.
        repeated: How many steps led to one of them.
        server: Number of the server that is scanned, among those of a cluster.
        layout: The layout of the servers for which this is valid.
        beginnings: How often the scan began from the start.
        page: The page that begins here; None before it is read.
    """

    def __init__(self) -> None:
        self.position = b"0"
        self.is_complete = False
        self.count = 0
        self.seen: set[bytes] = set()
        self.visited: set[bytes] = set()
        self.repeated = 0
        self.server = 0
        self.layout: object = None
        self.beginnings = 0
        self.page: Page | None = None

    def copy(self) -> Scan:
        """Return another scan at the same position, to take the next step with."""
        scan = Scan()
        scan.__dict__.update(self.__dict__)
        scan.page = None
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
            The names of live entries; none for "drop".
        """
        return await self._run(server, PAGE, prefix, now, mode)

    async def step_through(
        self,
        server: Server,
        prefix: str,
        key_range: KeyRange,
        mode: Literal["count", "drop"],
        *,
        now: float,
    ) -> None:
        """Advance by one step through a range of keys.

        Args:
            server: The server to scan.
            prefix: What the names of the keys have before them.
            key_range: The keys.
            mode: "count" to count live entries; "drop" to delete all entries.
            now: Time at which entries are live or expired, in Unix seconds.
        """
        bounds = (key_range.start or "", key_range.end or "")
        await self._run(
            server, RANGE, prefix + key_range.prefix, now, mode, len(prefix.encode()), *bounds
        )

    async def _run(
        self, server: Server, script: Script, prefix: str, now: float, mode: str, *arguments: Any
    ) -> list[bytes]:
        """Run a script for one step. Returns the names that it lists."""
        nodes = await server.nodes()
        if self.beginnings == 0 or self.layout != server.layout:
            self._begin(server, mode)
        if not nodes:
            self.is_complete = True
            return []
        lists = mode == "list"
        step = await server.run_script_at(
            nodes[self.server],
            script,
            *(self.position, pattern(prefix), PAGE_SIZE, repr(now * 1000), mode, *arguments),
        )
        if (
            not isinstance(step, list)
            or len(step) != 2
            or not isinstance(step[0], bytes)
            or not (_are_names(step[1]) if lists else isinstance(step[1], int))
        ):
            raise server.wrong_answer()
        self.position, found = step
        if self.layout is None:
            self.layout = server.layout  # known since the first connection
        self.repeated += self.position in self.visited
        self.visited.add(self.position)
        if self.repeated > MOST_REPEATED:
            raise server.endless_scan()
        if self.position == b"0":
            self.server += 1
            self.visited, self.repeated = set(), 0
            self.is_complete = self.server == len(nodes) and self.layout == server.layout
        if lists:
            return list(found)
        self.count += found
        return []

    def _begin(self, server: Server, mode: str) -> None:
        """Begin from the start: a cursor is valid at one server, and keys may have moved."""
        self.beginnings += 1
        if self.beginnings > MOST_BEGINNINGS:
            raise server.endless_scan()
        self.layout = server.layout
        self.server, self.position = 0, b"0"
        self.visited, self.repeated = set(), 0
        if mode == "count":
            self.count = 0


def _are_names(found: object) -> bool:
    return isinstance(found, list) and all(isinstance(name, bytes) for name in found)
