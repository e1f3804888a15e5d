"""Rewriting of stored entries in the form in which their stack writes now.

After a key was promoted, a dictionary trained or an algorithm changed, old entries stay in
their old form until they are written again. `rewrite` reads each entry. If the stack would
write it in another form now, `rewrite` writes it back, unless it has changed in the meantime.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from kvwrap.core.capability import Capability
from kvwrap.core.entry import Entry
from kvwrap.core.paging import pages
from kvwrap.core.primitives import Collection, KeyRange
from kvwrap.core.serializer import ValueCodec
from kvwrap.core.store import Store
from kvwrap.core.validation import checked_count
from kvwrap.layers.base.transform import Transform
from kvwrap.layers.encryption import Encryption
from kvwrap.rewriting.batch import Rewriter
from kvwrap.rewriting.checkpoint import Checkpoint, CheckpointFile, Resume
from kvwrap.rewriting.recorder import Recorder
from kvwrap.rewriting.report import Failure, Report
from kvwrap.rewriting.scope import Scope, check, scopes_of

__all__ = ["Failure", "Progress", "Report", "rewrite"]


class Progress(msgspec.Struct, frozen=True):
    """The progress of a rewrite.

    Attributes:
        collection: The current collection.
        report: The report so far; it changes as the rewrite continues.
        saved: `state`, encoded.
    """

    collection: Collection
    report: Report
    saved: bytes

    @property
    def state(self) -> dict[str, Any]:
        """The state to resume from here with `resume=`. JSON can hold it."""
        state: dict[str, Any] = msgspec.json.decode(self.saved)
        return state


async def rewrite(
    store: Store,
    *,
    collections: Sequence[Collection] | None = None,
    batch: int = 100,
    progress: Callable[[Progress], object] | None = None,
    resume: Resume | None = None,
    dry_run: bool = False,
    exclusive: bool = False,
) -> Report:
    """Rewrite every entry in the form in which the stack would write it now.

    Values, versions and expiry stay the same, so readers, writers and near stores notice
    nothing, and concurrent writes win. Entries that do not open, or are corrupt, are reported
    and left unchanged. Layers outside the outermost one that changes bytes are bypassed,
    except those that rename: near stores are neither read nor filled, and statistics do not
    count. Records that layers keep for themselves inside encryption, such as dictionaries,
    are rewritten too. The second stores of layers are not: they are stores with their own
    stacks.

    A rewrite can be stopped at any point, also by cancellation, and started again: entries
    that already have their current form are only read. With `resume` it also continues from
    its position: after the last key if the store keeps keys in order, else with the last
    collection.

    Args:
        store: A stack over a store.
        collections: The collections to rewrite, by the names that the store's users give
            them; `None` among them is the default one. If omitted: all, or the default one if
            the store cannot enumerate them.
        batch: Number of keys in one round trip.
        progress: Called after each batch, with a `Progress`.
        resume: The path of a file that holds the state while this runs, and is removed at
            the end; or the state of an earlier `Progress`.
        dry_run: Only read, and report what would be rewritten.
        exclusive: States that there is no other writer. Needed if the store cannot compare
            versions.

    Raises:
        ConfigurationError: The stack has nothing to rewrite, or a rewrite is running.
        UnsupportedOperation: The store cannot enumerate keys, or cannot compare versions.
        StoreUnavailable: The backend failed. What is rewritten stays so; `resume` continues.
    """
    checked_count(batch, "batch")
    scopes = list(scopes_of(store, collections))
    for scope in scopes:
        check(scope, writes=not dry_run, exclusive=exclusive)
    transforms = scopes[0].transforms
    for transform in transforms:
        await transform.prepare_encode(None)
    file = CheckpointFile(resume)
    report = Report(dry_run=dry_run)
    _add_key_names(report, transforms)
    target = [*map(repr, transforms), *report.primary, f"collections={collections!r}"]
    checkpoint = file.load(Checkpoint(target, report=report))
    report = checkpoint.report
    run = _Run(ValueCodec(store.serializer), checkpoint, file, batch, progress, dry_run, exclusive)
    for scope in scopes:
        await run.rewrite_scope(scope)
    _add_key_names(report, transforms)
    report.complete = scopes[0].is_complete
    file.remove()
    return report


@dataclass(frozen=True)
class _Run:
    """One running rewrite."""

    values: ValueCodec
    checkpoint: Checkpoint
    file: CheckpointFile
    batch: int
    progress: Callable[[Progress], object] | None
    dry_run: bool
    exclusive: bool

    async def rewrite_scope(self, scope: Scope) -> None:
        """Rewrite the collections of a scope that are not finished."""
        recorder = Recorder(scope.transforms)
        checkpoint = self.checkpoint
        with recorder.attach():
            for collection in await scope.list_collections():
                if (scope.name, collection) in checkpoint.done:
                    continue
                checkpoint.begin(scope.name, collection)
                await self._rewrite_collection(scope, collection, recorder)
                checkpoint.finish(scope.name, collection)
                self.file.save(checkpoint)

    async def _rewrite_collection(
        self, scope: Scope, collection: Collection, recorder: Recorder
    ) -> None:
        checkpoint, part = self.checkpoint, scope.part
        ordered = Capability.RANGE in part.capabilities
        # If keys have no order, the report to resume from is that at the collection's beginning.
        saved = msgspec.json.encode(checkpoint)
        key_range = KeyRange(start=checkpoint.last_key)
        rewriter = Rewriter(
            part,
            collection,
            recorder,
            checkpoint.report,
            self._complete_codec,
            dry_run=self.dry_run,
            exclusive=self.exclusive,
        )
        async for page in pages(part, collection, key_range):
            keys = [key for key in page.keys if key != checkpoint.last_key]
            for batch in _split(keys, self.batch):
                await rewriter.rewrite(batch)
                # A store in memory never yields to other tasks on its own.
                await asyncio.sleep(0)
                if ordered:
                    checkpoint.last_key = batch[-1]
                    saved = msgspec.json.encode(checkpoint)
                    self.file.save(checkpoint)
                if self.progress is not None:
                    self.progress(Progress(collection, checkpoint.report, saved))

    def _complete_codec(self, entry: Entry) -> Entry:
        """Add the step of the stack's serializer to an entry that another program wrote."""
        if entry.codec:
            return entry
        self.values.loads(entry.body, self.values.tag)
        return entry.with_body(entry.body, self.values.tag)


def _split(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


def _add_key_names(report: Report, transforms: Sequence[Transform]) -> None:
    """Add the names of the known encryption keys. A fetched keyring may learn of others."""
    report.primary = []
    for layer in transforms:
        if isinstance(layer, Encryption):
            report.names |= layer.key_names
            report.primary.append(layer.primary)
