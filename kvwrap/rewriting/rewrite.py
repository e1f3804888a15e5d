"""Rewriting of stored entries in the form in which their stack writes now.

After a key was promoted, a dictionary trained or an algorithm changed, old entries stay in
their old form until they are written again. `rewrite` reads each entry. If the stack would
write it in another form now, `rewrite` writes it back, unless it has changed in the meantime.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from kvwrap.core.capability import Capability
from kvwrap.core.codec import skip_annotations
from kvwrap.core.entry import Entry
from kvwrap.core.paging import pages
from kvwrap.core.primitives import Collection, KeyRange
from kvwrap.core.serializer import ValueCodec
from kvwrap.core.store import Store
from kvwrap.core.validation import checked_count, checked_flag
from kvwrap.errors import ConfigurationError
from kvwrap.layers.base.transform import Transform
from kvwrap.layers.encryption import Encryption
from kvwrap.rewriting.batch import Rewriter
from kvwrap.rewriting.checkpoint import Checkpoint, CheckpointFile, Resume
from kvwrap.rewriting.report import CollectionCounts, Failure, Report
from kvwrap.rewriting.scope import Scope, check, check_is_limited, scopes_of

__all__ = ["CollectionCounts", "Failure", "Progress", "Report", "rewrite"]


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
    prefix: str = "",
    collections: Sequence[Collection] | None = None,
    everything: bool = False,
    batch: int = 100,
    progress: Callable[[Progress], object] | None = None,
    resume: Resume | None = None,
    dry_run: bool = False,
    exclusive: bool = False,
) -> Report:
    """Rewrite every entry in the form in which the stack would write it now.

    Values, versions and expiry stay the same, so readers, writers and near stores notice
    nothing, and concurrent writes win. Only values that another program wrote get a version of
    their own. Entries that do not open, or are corrupt, are reported and left unchanged. Layers
    outside the outermost one that changes bytes are bypassed, except those that rename: near
    stores are neither read nor filled, and statistics do not count. Records that layers keep
    for themselves inside encryption, such as dictionaries, are rewritten too. The second stores
    of layers are not: they are stores with their own stacks.

    A rewrite can be stopped at any point, also by cancellation, and started again: entries
    that already have their current form are only read. With `resume` it also continues after
    the last key that was finished. For that, the keys of a collection are taken in their order.
    If the store has no order, they are listed first and sorted, so that their names are held in
    memory.

    If entries were rewritten, the backend's remains of their old form are erased, where it can
    do that (`Store.scrub`).

    Args:
        store: A stack over a store.
        prefix: The prefix of the keys to rewrite, by their users' names.
        collections: The collections to rewrite, by the names that the store's users give
            them; `None` among them is the default one. If omitted: all, or the default one if
            the store cannot enumerate them.
        everything: States that no other program uses a backend that was opened with `raw=True`.
            Needed to rewrite its default collection without a prefix.
        batch: Number of keys in one round trip.
        progress: Called after each batch, with a `Progress`.
        resume: The path of a file that holds the state while this runs, and is removed at
            the end; or the state of an earlier `Progress`.
        dry_run: Only read, and report what would be rewritten.
        exclusive: States that there is no other writer. Needed if the store cannot compare
            versions.

    Raises:
        ConfigurationError: The stack has nothing to rewrite, or hides the names to choose from;
            or the rewrite would change other programs' keys; or `resume` is not a state of this
            store, or cannot be read or written.
        UnsupportedOperation: The store cannot enumerate keys, or cannot compare versions.
        StoreUnavailable: The backend failed. What is rewritten stays so; `resume` continues.
    """
    checked_count(batch, "batch")
    _check_names(prefix, collections)
    scopes = list(scopes_of(store, collections, prefix))
    for scope in scopes:
        check(scope, writes=not dry_run, exclusive=exclusive)
    if not dry_run and not checked_flag(everything, "everything"):
        check_is_limited(scopes[0], store.base, await scopes[0].list_collections())
    transforms = scopes[0].chain.transforms
    for transform in transforms:
        await transform.prepare_encode(None)
    file = CheckpointFile(resume)
    report = Report(dry_run=dry_run)
    _add_key_names(report, transforms)
    target = [
        *map(repr, transforms),
        *report.primary,
        f"collections={collections!r}",
        f"prefix={prefix!r}",
    ]
    checkpoint = file.load(Checkpoint(store.base.location, target, report=report))
    report = checkpoint.report
    values = ValueCodec(store.serializer)
    run = _Run(values, checkpoint, file, batch, progress, dry_run=dry_run, exclusive=exclusive)
    try:
        for scope in scopes:
            await run.rewrite_scope(scope)
        if report.rewritten and not dry_run:
            await store.base.scrub()
    except BaseException:
        with suppress(ConfigurationError):  # the error that ends this is the one to see
            file.save(run.saved)
        raise
    _add_key_names(report, transforms)
    report.complete = scopes[0].is_complete
    file.remove()
    return report


def _check_names(prefix: object, collections: object) -> None:
    if not isinstance(prefix, str):
        raise ConfigurationError(f"`prefix` must be a str; got {type(prefix).__name__}")
    names = collections if isinstance(collections, Iterable) else [collections]
    if isinstance(collections, str) or not all(
        name is None or (isinstance(name, str) and name) for name in names
    ):
        raise ConfigurationError(
            "`collections` must be a list of names such as ['users'], with None for the default "
            f"collection; got {collections!r}"
        )


class _Run:
    """One running rewrite.

    Attributes:
        saved: The state after the last finished batch, as JSON.
    """

    def __init__(
        self,
        values: ValueCodec,
        checkpoint: Checkpoint,
        file: CheckpointFile,
        batch: int,
        progress: Callable[[Progress], object] | None,
        *,
        dry_run: bool,
        exclusive: bool,
    ) -> None:
        self._values = values
        self._checkpoint = checkpoint
        self._file = file
        self._batch = batch
        self._progress = progress
        self._dry_run = dry_run
        self._exclusive = exclusive
        self.saved = checkpoint.encode()

    async def rewrite_scope(self, scope: Scope) -> None:
        """Rewrite the collections of a scope that are not finished."""
        checkpoint = self._checkpoint
        done = set(checkpoint.done)
        for collection in await scope.list_collections():
            if (scope.name, collection) in done:
                continue
            checkpoint.begin(scope.name, collection)
            await self._rewrite_collection(scope, collection)
            checkpoint.finish(scope.name, collection)
            self.saved = checkpoint.encode()
            self._file.save_sometimes(self.saved)

    async def _rewrite_collection(self, scope: Scope, collection: Collection) -> None:
        rewriter = Rewriter(
            scope,
            collection,
            self._checkpoint.report,
            self._complete_codec,
            dry_run=self._dry_run,
            exclusive=self._exclusive,
        )
        last_key = self._checkpoint.last_key
        ordered = Capability.RANGE in scope.part.capabilities
        unsorted: list[str] = []
        key_range = KeyRange(scope.prefix, last_key if ordered else None, masked=True)
        async for page in pages(scope.part, collection, key_range):
            keys = [key for key in page.keys if last_key is None or key > last_key]
            if ordered:
                await self._rewrite_keys(rewriter, collection, keys)
            else:
                unsorted += keys
        await self._rewrite_keys(rewriter, collection, sorted(unsorted))

    async def _rewrite_keys(
        self, rewriter: Rewriter, collection: Collection, keys: Sequence[str]
    ) -> None:
        """Rewrite keys that are in their order, and save the position after each batch."""
        checkpoint = self._checkpoint
        for batch in _split(keys, self._batch):
            await rewriter.rewrite(batch)
            checkpoint.last_key = batch[-1]
            self.saved = checkpoint.encode()
            self._file.save_sometimes(self.saved)
            # A store in memory never yields to other tasks on its own.
            await asyncio.sleep(0)
            if self._progress is not None:
                self._progress(Progress(collection, checkpoint.report, self.saved))

    def _complete_codec(self, entry: Entry) -> Entry:
        """Add the step of the stack's serializer to an entry that another program wrote."""
        if skip_annotations(entry.codec):
            return entry
        self._values.loads(entry.body, self._values.tag)
        return entry.with_body(entry.body, entry.codec + self._values.tag)


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
