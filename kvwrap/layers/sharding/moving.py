"""Moving entries from a previous owner to the new one, while several processes use both.

Every process that has `previous` keeps to one rule: **a key is written at its new owner only
when its previous owner has nothing under it**. So a write, a removal or a change of expiry moves
the entry first. While the previous owner has an entry, that is the current one; afterwards the
new owner's is. No clock decides.

A move takes five steps:

1. Read the previous owner. If it has nothing, there is nothing to move.
2. Write a *claim* to the new owner, if it has nothing there. A claim is an entry with a version
   of its own that counts as missing. It replaces the claim of another process.
3. Read the previous owner again, now that the claim is there.
4. Replace the claim by the entry, on condition that it is still this claim.
5. Remove the entry from the previous owner, on condition that it is still this entry.

Whatever writes to the new owner or removes from it after step 2 ends the claim, also if what was
written has expired by then. So step 4 fails, and an old copy can never come after a newer write
or a removal. A move that is interrupted leaves a claim, or both copies of one entry, and the next
one goes on from there. A claim expires by itself.

If the new owner has another entry in step 2, a process without `previous` has written to one of
the two. Then the one with the later creation time stays.
"""

from __future__ import annotations

from collections.abc import Sequence

from kvwrap.core import codec
from kvwrap.core.batch import add_succeeded, first_of_each, take
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.optimistic import ATTEMPTS, backoff, conflict
from kvwrap.core.primitives import ABSENT, Collection, Expected, Primitives
from kvwrap.core.randomness import new_version
from kvwrap.core.ttl import LATEST
from kvwrap.errors import KvwrapError

CLAIM_TTL = 60.0
"""Seconds after which a claim expires; a move that takes longer begins again."""

_CLAIM = codec.step(codec.OTHER_STEP, codec.fingerprint("kvwrap.claim"))


def is_claim(entry: Entry | None) -> bool:
    """Return True if this entry marks a key that is being moved to this store."""
    return entry is not None and codec.skip_annotations(entry.codec) == _CLAIM


async def move(
    source: Primitives,
    target: Primitives,
    collection: Collection,
    keys: Sequence[str],
    clock: Clock,
) -> int:
    """Move what `source` has under these keys to `target`. Returns the number of entries.

    If it fails or is cancelled, each entry is still in one of the two, or in both.

    Args:
        source: The previous owner of the keys.
        target: Their new owner.
        collection: The collection of the keys.
        keys: The keys, each once.
        clock: Source of the time.
    """
    moved = 0
    pending = list(keys)
    for attempt in ATTEMPTS:
        await backoff(attempt)
        pending = list(await _present(source, collection, pending))
        if not pending:
            return moved
        claim = Entry(b"", _CLAIM, 0.0, min(clock.time() + CLAIM_TTL, LATEST), new_version())
        held = await _claim(target, collection, pending, claim)
        current = await _present(source, collection, list(held))
        await _release(target, collection, [k for k in held if k not in current], claim)
        outdated = [key for key, entry in current.items() if _is_older(held[key], entry)]
        copied = dict.fromkeys(current, True)
        if outdated:
            flags = await target.write(
                collection,
                outdated,
                [current[key] for key in outdated],
                [held[key].version for key in outdated],
            )
            copied.update(zip(outdated, flags, strict=True))
        pending = [key for key in pending if key not in held or not copied.get(key, True)]
        done = [key for key, flag in copied.items() if flag]
        if done:
            versions = [current[key].version for key in done]
            flags = await source.remove(collection, done, versions)
            moved += sum(flags)
            pending += [key for key, flag in zip(done, flags, strict=True) if not flag]
        if not pending:
            return moved
    raise conflict(target.name, collection, pending[0])


async def write(
    target: Primitives,
    collection: Collection,
    keys: Sequence[str],
    entries: Sequence[Entry],
    expected: Sequence[Expected] | None,
) -> list[bool]:
    """Do the primitive `write` for the new owner of keys, to which a claim is nothing."""
    written = list(await target.write(collection, keys, entries, expected))
    if expected is None:
        return written
    pending = [i for i, flag in enumerate(written) if not flag and expected[i] is ABSENT]
    for attempt in ATTEMPTS:
        await backoff(attempt)
        current = await target.read(collection, take(keys, pending)) if pending else []
        # What was removed or has expired since it refused the write may be written over, too.
        versions: dict[int, Expected] = {
            index: ABSENT if entry is None else entry.version
            for index, entry in zip(pending, current, strict=True)
            if entry is None or is_claim(entry)
        }
        if not versions:
            return written
        pending = list(versions)
        flags = await target.write(
            collection, take(keys, pending), take(entries, pending), list(versions.values())
        )
        for index, flag in zip(pending, flags, strict=True):
            written[index] = flag
        pending = [index for index in pending if not written[index]]
    raise conflict(target.name, collection, keys[pending[0]])


async def remove(target: Primitives, collection: Collection, keys: Sequence[str]) -> list[bool]:
    """Do the primitive `remove` for the new owner of keys, to which a claim is nothing."""
    existed: dict[str, bool] = {}
    pending: Sequence[str] = list(dict.fromkeys(keys))
    try:
        for attempt in ATTEMPTS:
            await backoff(attempt)
            entries = await target.read(collection, pending)
            found = {
                key: entry for key, entry in zip(pending, entries, strict=True) if entry is not None
            }
            existed.update((key, False) for key in pending if key not in found)
            versions = [entry.version for entry in found.values()]
            flags = await target.remove(collection, list(found), versions) if found else []
            pending = []
            for (key, entry), flag in zip(found.items(), flags, strict=True):
                if flag:
                    existed[key] = not is_claim(entry)
                else:
                    pending.append(key)
            if not pending:
                return first_of_each(keys, [existed[key] for key in keys])
        raise conflict(target.name, collection, pending[0])
    except KvwrapError as error:
        if len(keys) > 1:
            add_succeeded(error, keys, existed)
        raise


async def _present(
    store: Primitives, collection: Collection, keys: Sequence[str]
) -> dict[str, Entry]:
    """Return the entries that the store has, by key."""
    entries = await store.read(collection, keys) if keys else []
    return {
        key: entry
        for key, entry in zip(keys, entries, strict=True)
        if entry is not None and not is_claim(entry)
    }


async def _claim(
    target: Primitives, collection: Collection, keys: Sequence[str], claim: Entry
) -> dict[str, Entry]:
    """Claim the keys that the target has nothing under.

    Returns what it has then: the claim, or another entry. A key that another process changed
    meanwhile is left out.
    """
    claimed = await target.write(collection, keys, [claim] * len(keys), [ABSENT] * len(keys))
    held = {key: claim for key, flag in zip(keys, claimed, strict=True) if flag}
    others = [key for key in keys if key not in held]
    if others:
        existing = zip(others, await target.read(collection, others), strict=True)
        found = {key: entry for key, entry in existing if entry is not None}
        foreign = {key: entry for key, entry in found.items() if is_claim(entry)}
        held.update((key, entry) for key, entry in found.items() if key not in foreign)
        if foreign:
            versions = [entry.version for entry in foreign.values()]
            replaced = await target.write(
                collection, list(foreign), [claim] * len(foreign), versions
            )
            held.update((key, claim) for key, flag in zip(foreign, replaced, strict=True) if flag)
    return held


async def _release(
    target: Primitives, collection: Collection, keys: Sequence[str], claim: Entry
) -> None:
    """Remove the claim where there is nothing to move any more."""
    if keys:
        await target.remove(collection, keys, [claim.version] * len(keys))


def _is_older(held: Entry, entry: Entry) -> bool:
    """Return True if the entry of the previous owner replaces what the new one has."""
    return is_claim(held) or held.created_at < entry.created_at
