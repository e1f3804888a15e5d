"""Bringing what a store holds into the form in which its stack would write it now.

After a key was promoted, a dictionary trained or an algorithm changed, old entries stay as
they were written until they are put again. `rewrite` reads each of them and, where it is not
as it would be written today, puts it back, if nobody has changed it meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
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
from kvwrap.rewriting.scope import Scope, check, scopes

__all__ = ["Failure", "Progress", "Report", "rewrite"]


class Progress(msgspec.Struct, frozen=True):
    """How far a rewrite has come.

    Attributes:
        collection: The collection that it is in.
        report: What has been done so far; changes as the rewrite goes on.
        saved: `state`, encoded.
    """

    collection: Collection
    report: Report
    saved: bytes

    @property
    def state(self) -> dict[str, Any]:
        """To go on from here with `resume=`; JSON can hold it."""
        found: dict[str, Any] = msgspec.json.decode(self.saved)
        return found


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
    """Put every entry into the form in which the stack would write it now.

    Values, versions and expiry stay as they are, so readers, writers and near stores notice
    nothing, and writes that come between win. Entries that do not open, or are broken, are
    reported and left. Layers outside the outermost one that changes bytes are passed by, save
    those that rename: near stores are neither read nor filled, statistics do not count.
    What layers keep for themselves inside encryption, as dictionaries, is rewritten too.
    The second stores of layers are not: they are stores with stacks of their own.

    It may be interrupted at any point, cancellation included, and begun again: what is in
    its present form already is only read. With `resume` it also goes on where it was: after
    the last key where the store keeps keys in order, else with the last collection.

    Args:
        store: A stack over a store.
        collections: Those to go through, by the names that the store's users give them,
            `None` among them for the default one. If left out: all, or the default one where
            the store cannot enumerate them.
        batch: Keys in one round trip.
        progress: Called after each batch, with a `Progress`.
        resume: A file in which the state is kept while this runs, removed at the end; or
            the state that an earlier `Progress` had.
        dry_run: Only look, and report what there would be to do.
        exclusive: Nobody else writes to the store meanwhile; needed where it cannot compare
            versions.

    Raises:
        ConfigurationError: The stack has nothing to rewrite, or a rewrite is under way.
        UnsupportedOperation: The store cannot enumerate keys, or cannot compare versions.
        StoreUnavailable: The backend failed; what was done is done, and `resume` goes on.
    """
    checked_count(batch, "batch")
    there = list(scopes(store, collections))
    for place in there:
        check(place, writes=not dry_run, exclusive=exclusive)
    transforms = there[0].transforms
    for transform in transforms:
        await transform.prepare_encode(None)
    keeper = CheckpointFile(resume)
    fresh = Report(dry_run=dry_run)
    _name_keys(fresh, transforms)
    target = [*map(repr, transforms), *fresh.primary, f"collections={collections!r}"]
    state = keeper.start(Checkpoint(target, report=fresh))
    run = _Run(store, state, keeper, batch, progress, dry_run, exclusive)
    for place in there:
        await run.through(place)
    _name_keys(state.report, transforms)
    state.report.complete = there[0].is_whole
    keeper.discard()
    return state.report


class _Run:
    """One rewrite under way."""

    def __init__(
        self,
        store: Store,
        state: Checkpoint,
        keeper: CheckpointFile,
        batch: int,
        progress: Callable[[Progress], object] | None,
        dry_run: bool,
        exclusive: bool,
    ) -> None:
        self._values = ValueCodec(store.serializer)
        self._state = state
        self._keeper = keeper
        self._batch = batch
        self._progress = progress
        self._dry_run = dry_run
        self._exclusive = exclusive

    async def through(self, place: Scope) -> None:
        """Go through all collections of a place that have not been gone through."""
        watcher = Recorder(place.transforms)
        state = self._state
        with watcher.looking():
            for collection in await place.all_collections():
                if (place.name, collection) in state.done:
                    continue
                state.begin(place.name, collection)
                await self._collection(place, collection, watcher)
                state.finish(place.name, collection)
                self._keeper.keep(state)

    async def _collection(self, place: Scope, collection: Collection, watcher: Recorder) -> None:
        state, part = self._state, place.part
        ordered = Capability.RANGE in part.capabilities
        # Where keys have no order, what is counted counts from the collection's beginning.
        before = msgspec.json.encode(state)
        key_range = KeyRange(start=state.after)
        rewriter = Rewriter(
            part,
            collection,
            watcher,
            state.report,
            self._whole,
            dry_run=self._dry_run,
            exclusive=self._exclusive,
        )
        async for page in pages(part, collection, key_range):
            keys = [key for key in page.keys if key != state.after]
            for some in _cut(keys, self._batch):
                await rewriter.batch(some)
                # A store in memory never waits by itself.
                await asyncio.sleep(0)
                if ordered:
                    state.after = some[-1]
                    before = msgspec.json.encode(state)
                    self._keeper.keep(state)
                if self._progress is not None:
                    self._progress(Progress(collection, state.report, before))

    def _whole(self, entry: Entry) -> Entry:
        """The entry, with the step of the stack's serializer if another program wrote it."""
        if entry.codec:
            return entry
        self._values.loads(entry.body, self._values.tag)
        return entry.with_body(entry.body, self._values.tag)


def _cut(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


def _name_keys(report: Report, transforms: Sequence[Transform]) -> None:
    """Put down which encryption keys there are; a fetched keyring may learn of others."""
    report.primary = []
    for layer in transforms:
        if isinstance(layer, Encryption):
            report.names |= layer.key_names
            report.primary.append(layer.primary)
