"""Going through collections in order, so that an interrupted run can continue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import msgspec

from kvwrap.core.paging import ListsKeysOf, ordered_batches
from kvwrap.core.primitives import Collection, KeyRange
from kvwrap.errors import ConfigurationError
from kvwrap.rewriting.checkpoint import Checkpoint, CheckpointFile

R = TypeVar("R", bound=msgspec.Struct)

Handle = Callable[[Sequence[str]], Awaitable[None]]
"""Does the work for a batch of keys."""


class Progress(msgspec.Struct, Generic[R], frozen=True):
    """The progress of a rewrite or a copy.

    Attributes:
        collection: The current collection.
        report: The report so far; it changes as the work continues.
        saved: `state`, encoded.
    """

    collection: Collection
    report: R
    saved: bytes

    @property
    def state(self) -> dict[str, Any]:
        """The state to resume from here with `resume=`. JSON can hold it."""
        state: dict[str, Any] = msgspec.json.decode(self.saved)
        return state


class Walk(Generic[R]):
    """Goes through collections batch by batch, and saves the position after each.

    As a context manager it saves the position if an error ends the block, and else removes the
    file.

    Args:
        file: Where the position is saved.
        checkpoint: The position to begin with.
        size: Number of keys in a batch.
        progress: Called after each batch.
    """

    def __init__(
        self,
        file: CheckpointFile[R],
        checkpoint: Checkpoint[R],
        size: int,
        progress: Callable[[Progress[R]], object] | None,
    ) -> None:
        self._file = file
        self._checkpoint = checkpoint
        self._size = size
        self._progress = progress
        self._saved = checkpoint.encode()

    async def through(
        self,
        scope: str,
        part: ListsKeysOf,
        collections: Iterable[Collection],
        key_range: KeyRange,
        handler: Callable[[Collection], Handle],
    ) -> None:
        """Go through those collections of a part that are not finished.

        Args:
            scope: The name of the part in a checkpoint.
            part: Lists the keys.
            collections: The collections, always in the same order.
            key_range: The prefix of the keys, and whether to list masked ones.
            handler: Returns what handles the batches of a collection.
        """
        checkpoint = self._checkpoint
        done = set(checkpoint.done)
        for collection in collections:
            if (scope, collection) in done:
                continue
            checkpoint.begin(scope, collection)
            rest = msgspec.structs.replace(key_range, start=checkpoint.last_key)
            handle = handler(collection)
            async with aclosing(ordered_batches(part, collection, rest, self._size)) as batches:
                async for batch in batches:
                    await handle(batch)
                    checkpoint.last_key = batch[-1]
                    self._save()
                    # A store in memory never yields to other tasks on its own.
                    await asyncio.sleep(0)
                    if self._progress is not None:
                        self._progress(Progress(collection, checkpoint.report, self._saved))
            checkpoint.finish(scope, collection)
            self._save()

    def _save(self) -> None:
        self._saved = self._checkpoint.encode()
        self._file.save_sometimes(self._saved)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._file.remove()
        else:
            with suppress(ConfigurationError):  # the error that ends this is the one to see
                self._file.save(self._saved)
