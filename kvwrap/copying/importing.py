"""Reading of entries from lines of JSON into a store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from kvwrap.copying.batch import Arrivals, Item
from kvwrap.copying.copy import Existing
from kvwrap.copying.lines import Line, parse_line
from kvwrap.copying.report import CopyReport
from kvwrap.core.primitives import Collection
from kvwrap.core.store import Store
from kvwrap.core.threads import run_in_thread
from kvwrap.core.validation import checked_count
from kvwrap.errors import ConfigurationError, InvalidValue
from kvwrap.rewriting.checkpoint import Checkpoint, CheckpointFile, Resume
from kvwrap.rewriting.walk import Progress


class ImportReport(CopyReport):
    """The results of an import so far.

    Attributes:
        lines: Number of lines that were read.
    """

    lines: int = 0


async def import_lines(
    lines: Iterable[bytes],
    store: Store,
    *,
    source: str = "",
    existing: Existing = "keep",
    batch: int = 100,
    progress: Callable[[Progress[ImportReport]], object] | None = None,
    resume: Resume | None = None,
) -> ImportReport:
    """Put the entries that lines of JSON describe into a store, with their expiry times.

    Each batch is read back and compared, as `kvwrap.copy` does. Lines that are not of the form,
    and entries that the store refuses, are reported with their line's number, and the others are
    written.

    Args:
        lines: The lines, as `export_lines` writes them.
        store: The store to write, through all of its layers.
        source: Where the lines come from: a state of another source is refused.
        existing: "keep" the value of a key that the store has, or "replace" it.
        batch: Number of lines in one round trip.
        progress: Called after each batch.
        resume: The path of a file for the state. With that of an earlier run, the lines that it
            had finished are skipped.

    Raises:
        ConfigurationError: `resume` is not a state of this import, or an argument is invalid.
        StoreUnavailable: The backend failed. With `resume`, the same call continues.
    """
    checked_count(batch, "batch")
    if existing not in ("keep", "replace"):
        raise ConfigurationError(f"`existing` must be 'keep' or 'replace'; got {existing!r}")
    file = CheckpointFile(resume, ImportReport, "import")
    place = f"{source} to {store.base.location}"
    checkpoint = file.load(Checkpoint(place, [f"existing={existing}"], ImportReport()))
    report = checkpoint.report
    rest = islice(lines, report.lines, None)
    saved = checkpoint.encode()
    try:
        # In a thread, since a pipe that sends nothing would block the store's own tasks.
        while group := await run_in_thread(_take, rest, batch):
            collection = await _put(group, store, report, existing == "replace")
            report.lines += len(group)
            saved = checkpoint.encode()
            file.save_sometimes(saved)
            await asyncio.sleep(0)
            if progress is not None:
                progress(Progress(collection, report, saved))
    except BaseException:
        file.save(saved)
        raise
    file.remove()
    return report


def _take(lines: Iterator[bytes], count: int) -> list[bytes]:
    return list(islice(lines, count))


async def _put(
    lines: Sequence[bytes], store: Store, report: ImportReport, replace: bool
) -> Collection:
    """Put the entries of some lines. Returns the collection of the last one."""
    now = store.clock.time()
    groups: dict[Collection, dict[str, Item]] = {}
    collection: Collection = None
    for number, text in enumerate(lines, report.lines + 1):
        if not text.strip():
            continue
        report.seen += 1
        try:
            line: Line = parse_line(text)
        except InvalidValue as error:
            report.count_failure(None, f"line {number}", error.message)
            continue
        collection = line.collection
        report.counts_of(collection).seen += 1
        ttl = None if line.expires_at is None else line.expires_at - now
        if ttl is not None and ttl <= 0:
            report.gone += 1
        else:
            # A later line of the same key replaces an earlier one of the batch.
            groups.setdefault(collection, {})[line.key] = Item(line.key, line.value, ttl)
    for name, items in groups.items():
        await Arrivals(store, name, report, replace=replace).put(list(items.values()))
    return collection
