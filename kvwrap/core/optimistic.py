"""Optimistic concurrency: retrying when another writer changed an entry after it was read."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

from kvwrap.core.capability import Capability
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Primitives
from kvwrap.errors import StoreUnavailable

ATTEMPTS = range(1000)
"""The numbers of the attempts; a backend at which all of them fail is broken, not busy."""


async def backoff(attempt: int) -> None:
    """Wait for a short random time before an attempt, from the third attempt on."""
    # Not a generator of attempts: a caller that succeeds would leave it unfinished, and the
    # event loop makes a task to close each of those.
    if attempt > 1:
        await asyncio.sleep(random.random() * min(attempt, 10) / 1000)


def conflict(store: str, collection: Collection, key: str) -> StoreUnavailable:
    """Return the error to raise when all attempts failed."""
    return StoreUnavailable(
        f"each of {len(ATTEMPTS)} attempts to update the entry was refused: another writer changes "
        "it all the time, or what the store keeps beside it (version, expiry) was altered there: "
        "put or delete the key",
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
    """Do the primitive `touch` by reading and writing.

    If `part` cannot compare versions, a write between the two is lost.

    Args:
        part: The part to read from and write to.
        collection: As for `touch`.
        keys: As for `touch`.
        expires: As for `touch`.
        renewed: Returns the entry to write, given the entry read and its new expiry time.
        owner: The name of the store or layer for errors.
    """
    compares = Capability.COMPARE_AND_PUT in part.capabilities
    expires_by_key = dict(zip(keys, expires, strict=True))
    touched = dict.fromkeys(expires_by_key, False)
    pending = list(expires_by_key)
    for attempt in ATTEMPTS:
        await backoff(attempt)
        entries = await part.read(collection, pending)
        existing = {key: entry for key, entry in zip(pending, entries) if entry is not None}
        if not existing:
            break
        written = await part.write(
            collection,
            list(existing),
            [renewed(entry, expires_by_key[key]) for key, entry in existing.items()],
            [entry.version for entry in existing.values()] if compares else None,
        )
        touched.update(zip(existing, written))
        pending = [key for key in existing if not touched[key]]
        if not pending:
            break
    else:
        raise conflict(owner, collection, pending[0])
    return [touched[key] for key in keys]
