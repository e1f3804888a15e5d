"""What receives the changes of a journal, and one call that sends them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected
from kvwrap.layers.shared.journal.change import Change


class Target(Protocol):
    """Receives the changes: a store, a layer, or a guard around one."""

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        """Write entries, as `Primitives.write` does."""

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        """Remove keys, as `Primitives.remove` does."""

    async def ping(self) -> None:
        """Return if the backend answers, as `Primitives.ping` does."""


async def send(target: Target, changes: Sequence[Change], *, are_removals: bool) -> None:
    """Send changes of one collection and kind in one call."""
    collection, keys = changes[0].collection, [change.key for change in changes]
    if are_removals:
        await target.remove(collection, keys, None)
    else:
        entries = [change.entry for change in changes if change.entry is not None]
        await target.write(collection, keys, entries, None)
