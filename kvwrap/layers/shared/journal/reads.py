"""Reads that see the changes of a journal before they are sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection
from kvwrap.layers.shared.journal.journal import Journal

Read = Callable[[Collection, Sequence[str]], Awaitable[list[Entry | None]]]
"""The primitive `read` of a store or layer."""


async def read_with_pending(
    journal: Journal, clock: Clock, read: Read, collection: Collection, keys: Sequence[str]
) -> list[Entry | None]:
    """Read these keys: from the pending changes, and through `read` the keys without one."""
    if journal.has_abandoned:
        await journal.wait_for_abandoned(collection, keys)
    pending = journal.pending
    if not pending:
        return await read(collection, keys)
    changes = [pending.get((collection, key)) for key in keys]
    unchanged = [key for key, change in zip(keys, changes, strict=True) if change is None]
    stored = iter(await read(collection, unchanged) if unchanged else ())
    now = clock.time()
    return [next(stored) if change is None else change.live(now) for change in changes]
