"""Rewriting of stored entries in the form in which their stack writes now.

After a key was promoted, a dictionary trained or an algorithm changed, old entries stay in
their old form until they are written again. `rewrite` reads each entry. If the stack would
write it in another form now, `rewrite` writes it back, unless it has changed in the meantime.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from kvwrap.core.codec import skip_annotations
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, KeyRange
from kvwrap.core.serializer import ValueCodec
from kvwrap.core.store import Store
from kvwrap.core.validation import checked_count, checked_flag
from kvwrap.layers.base.transform import Transform
from kvwrap.layers.encryption import Encryption
from kvwrap.rewriting.batch import Rewriter
from kvwrap.rewriting.checkpoint import Checkpoint, CheckpointFile, Resume
from kvwrap.rewriting.report import CollectionCounts, Failure, Report
from kvwrap.rewriting.scope import Scope, check, check_is_limited, check_names, scopes_of
from kvwrap.rewriting.walk import Handle, Progress, Walk

__all__ = ["CollectionCounts", "Failure", "Progress", "Report", "rewrite"]


async def rewrite(
    store: Store,
    *,
    prefix: str = "",
    collections: Sequence[Collection] | None = None,
    everything: bool = False,
    batch: int = 100,
    progress: Callable[[Progress[Report]], object] | None = None,
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
            Needed to rewrite it without a prefix or collections, or its default collection without
            a prefix.
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
    check_names(prefix, collections)
    scopes = list(scopes_of(store, collections, prefix))
    for scope in scopes:
        await check(scope, store.base, writes=not dry_run, exclusive=exclusive)
    if not dry_run and not checked_flag(everything, "everything"):
        check_is_limited(scopes[0], store.base, await scopes[0].list_collections())
    transforms = scopes[0].chain.transforms
    for transform in transforms:
        await transform.prepare_encode(None)
    file = CheckpointFile(resume, Report, "rewrite")
    report = Report(dry_run=dry_run)
    _add_key_names(report, transforms)
    target = [
        *map(repr, transforms),
        *report.primary,
        f"collections={collections!r}",
        f"prefix={prefix!r}",
        f"dry_run={dry_run}",
    ]
    checkpoint = file.load(Checkpoint(store.base.location, target, report))
    report = checkpoint.report
    values = ValueCodec(store.serializer)

    def complete_codec(entry: Entry) -> Entry:
        """Add the step of the stack's serializer to an entry that another program wrote."""
        if skip_annotations(entry.codec):
            return entry
        values.loads(entry.body, values.tag)
        return entry.with_body(entry.body, entry.codec + values.tag)

    def handler(scope: Scope, collection: Collection) -> Handle:
        return Rewriter(
            scope, collection, report, complete_codec, dry_run=dry_run, exclusive=exclusive
        ).rewrite

    with Walk(file, checkpoint, batch, progress) as walk:
        for scope in scopes:
            names = await scope.list_collections()
            key_range = KeyRange(scope.prefix, masked=True)
            await walk.through(scope.name, scope.part, names, key_range, partial(handler, scope))
        if report.rewritten and not dry_run:
            await store.base.scrub()
    _add_key_names(report, transforms)
    report.complete = scopes[0].is_complete
    return report


def _add_key_names(report: Report, transforms: Sequence[Transform]) -> None:
    """Add the names of the known encryption keys. A fetched keyring may learn of others."""
    report.primary = []
    for layer in transforms:
        if isinstance(layer, Encryption):
            report.names |= layer.key_names
            report.primary.append(layer.primary)
