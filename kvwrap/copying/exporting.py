"""Writing of a store's entries to a file, as lines of JSON."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import BinaryIO

from kvwrap.copying.batch import Departures, Item, count_refusal
from kvwrap.copying.copy import collections_of
from kvwrap.copying.lines import line_of
from kvwrap.copying.report import CopyReport
from kvwrap.core.paging import check_listing
from kvwrap.core.primitives import Collection, KeyRange
from kvwrap.core.store import Store
from kvwrap.core.validation import checked_count
from kvwrap.errors import ConfigurationError, SerializationError
from kvwrap.rewriting.checkpoint import Checkpoint, CheckpointFile, Resume
from kvwrap.rewriting.scope import check_names
from kvwrap.rewriting.walk import Handle, Progress, Walk


class ExportReport(CopyReport):
    """The results of an export so far.

    Attributes:
        size: Number of bytes that were written.
    """

    size: int = 0


async def export_lines(
    store: Store,
    file: BinaryIO,
    *,
    prefix: str = "",
    collections: Sequence[Collection] | None = None,
    batch: int = 100,
    progress: Callable[[Progress[ExportReport]], object] | None = None,
    resume: Resume | None = None,
) -> ExportReport:
    """Write entries to a file, each as a line of JSON, in the order of their keys.

    Args:
        store: The store to read, through all of its layers.
        file: Where to write. With `resume` it must be a regular file, opened for reading and
            writing: it is cut to what an earlier run had finished, and continued.
        prefix: The prefix of the keys.
        collections: The collections; `None` among them is the default one. If omitted: all, or
            the default one if the store cannot enumerate them.
        batch: Number of keys in one round trip.
        progress: Called after each batch.
        resume: The path of a file for the state, as for `kvwrap.copy`.

    Raises:
        ConfigurationError: An argument is invalid, or `resume` is not a state of this export, or
            the file is shorter than its state says.
        UnsupportedOperation: The store cannot enumerate its keys.
        StoreUnavailable: The backend failed. With `resume`, the same call continues.
    """
    checked_count(batch, "batch")
    check_names(prefix, collections)
    await check_listing(store, store.base, "an export needs a store", store.name)
    state = CheckpointFile(resume, ExportReport, "export")
    chosen = [f"collections={collections!r}", f"prefix={prefix!r}"]
    checkpoint = state.load(Checkpoint(store.base.location, chosen, ExportReport()))
    report = checkpoint.report
    if resume is not None:
        _cut(file, report.size)

    def handler(collection: Collection) -> Handle:
        departures = Departures(store, collection, report)

        async def handle(keys: Sequence[str]) -> None:
            now = store.clock.time()
            batches = await departures.read(keys)
            file.write(b"".join(_lines_of(collection, each, now, report) for each in batches))
            file.flush()
            if resume is not None:
                # Before the state that names this size may reach the disk.
                os.fsync(file.fileno())

        return handle

    names = await collections_of(store) if collections is None else list(collections)
    ordered = sorted(set(names), key=lambda name: (name is not None, name))
    with Walk(state, checkpoint, batch, progress) as walk:
        await walk.through("values", store._view, ordered, KeyRange(prefix), handler)
        report.left = await store.count_unreadable()
    return report


def _lines_of(
    collection: Collection, items: Sequence[Item], now: float, report: ExportReport
) -> bytes:
    """Return the lines of a batch, and count them."""
    lines = []
    for item in items:
        try:
            lines.append(line_of(collection, item, now) + b"\n")
        except SerializationError as error:
            count_refusal(report, collection, item.key, error)
    report.copied += len(lines)
    report.counts_of(collection).copied += len(lines)
    written = b"".join(lines)
    report.size += len(written)
    return written


def _cut(file: BinaryIO, size: int) -> None:
    """Cut a file to its first bytes, and go to its end."""
    if file.seek(0, os.SEEK_END) < size:
        raise ConfigurationError(
            f"the export to continue must have at least {size} bytes, as its state says; got "
            f"{file.tell()}: delete both, to start over"
        )
    file.truncate(size)
    file.seek(size)
