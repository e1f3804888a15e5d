"""Trying again where another writer came between a read and the write that rests on it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

from kvwrap.core.capability import Capability
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Primitives
from kvwrap.errors import StoreUnavailable

ATTEMPTS = range(1000)
"""The numbers of attempts; a backend at which all are in vain is broken rather than busy."""


async def backoff(attempt: int) -> None:
    """Wait for a short and random time before an attempt, from the third on."""
    # No generator of attempts, which one that succeeds would leave unfinished: the event loop
    # closes such ones by a task for each.
    if attempt > 1:
        await asyncio.sleep(random.random() * min(attempt, 10) / 1000)


def conflict(store: str, collection: Collection, key: str) -> StoreUnavailable:
    """The error for when all attempts were in vain."""
    return StoreUnavailable(
        f"the entry changed under {len(ATTEMPTS)} attempts to change it",
        store=store,
        collection=collection,
        key=key,
    )


async def touch_by_writing(
    part: Primitives,
    collection: Collection,
    keys: Sequence[str],
    expires: Sequence[float | None],
    renewed: Callable[[Entry, float | None], Entry],
    *,
    owner: str,
) -> list[bool]:
    """The primitive `touch`, by reading and writing.

    Where `part` cannot compare versions, a write that comes between is lost.

    Args:
        part: What reads and writes.
        collection: As for `touch`.
        keys: As for `touch`.
        expires: As for `touch`.
        renewed: Makes the entry to write of the one read and its new end.
        owner: Who speaks in errors.
    """
    compares = Capability.COMPARE_AND_PUT in part.capabilities
    ends = dict(zip(keys, expires, strict=True))
    touched = dict.fromkeys(ends, False)
    pending = list(ends)
    for attempt in ATTEMPTS:
        await backoff(attempt)
        entries = await part.read(collection, pending)
        found = {key: entry for key, entry in zip(pending, entries) if entry is not None}
        if not found:
            break
        written = await part.write(
            collection,
            list(found),
            [renewed(entry, ends[key]) for key, entry in found.items()],
            [entry.version for entry in found.values()] if compares else None,
        )
        touched.update(zip(found, written))
        pending = [key for key in found if not touched[key]]
        if not pending:
            break
    else:
        raise conflict(owner, collection, pending[0])
    return [touched[key] for key in keys]
