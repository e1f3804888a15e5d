"""Enumerating the keys that begin so, step by step."""

from __future__ import annotations

from typing import Any, Literal

from kvwrap.core.paging import PAGE_SIZE
from kvwrap.core.primitives import Page
from kvwrap.stores.redis.errors import failure
from kvwrap.stores.redis.keys import pattern
from kvwrap.stores.redis.scripts import PAGE
from kvwrap.stores.redis.server import Server


class Scan:
    """How far a scan of the keys has come; as a cursor, one place, which keeps its page.

    Kept, so that it can be asked for again: its names would then be known already.
    """

    def __init__(self) -> None:
        self.at = b"0"
        self.ended = False
        self.seen: set[bytes] = set()
        self.page: Page | None = None

    def following(self) -> Scan:
        """The same place, to go on from."""
        scan = Scan()
        scan.at, scan.seen = self.at, self.seen
        return scan

    async def step(
        self, server: Server, prefix: str, mode: Literal["list", "drop"], *, now: float
    ) -> Any:
        """Go on; the names of live entries, or how many live ones were dropped."""
        call = (0, self.at, pattern(prefix), PAGE_SIZE, repr(now * 1000), mode)
        (answer,) = await server.run(PAGE, [call])
        if isinstance(answer, Exception):
            raise failure(answer, store=server.owner) from answer
        self.at, found = answer
        self.ended = self.at == b"0"
        return found
