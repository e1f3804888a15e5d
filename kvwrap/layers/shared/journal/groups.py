"""The calls that wait for a commit, each with the changes that it accepts together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection
from kvwrap.core.turns import slices, turn


class Group(NamedTuple):
    """The changes of one call, and what it awaits.

    Attributes:
        collection: The collection of the keys.
        keys: The keys to change.
        entries: The entry to write per key; `None` removes the key.
        committed: Done when they are on the disk, or with the error that prevents it.
    """

    collection: Collection
    keys: Sequence[str]
    entries: Sequence[Entry | None]
    committed: asyncio.Future[None]


async def resolve(groups: Sequence[Group], error: Exception | None) -> None:
    """Return from the calls that wait, or raise the error in them; others get turns between."""
    resolved = 0
    try:
        for part in slices(len(groups)):
            if part.start:
                await turn()
            for group in groups[part]:
                if group.committed.done():
                    continue
                if error is None:
                    group.committed.set_result(None)
                else:
                    group.committed.set_exception(error)
            resolved = part.stop
    finally:
        cancel(groups[resolved:])


def cancel(groups: Sequence[Group]) -> None:
    """Cancel the calls that wait."""
    for group in groups:
        group.committed.cancel()
