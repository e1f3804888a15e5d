"""Copying of the entries of one store to another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from kvwrap.copying.batch import Arrivals, Departures
from kvwrap.copying.report import CopyReport
from kvwrap.core.capability import Capability
from kvwrap.core.paging import check_listing
from kvwrap.core.primitives import Collection, KeyRange
from kvwrap.core.registry import as_store
from kvwrap.core.store import Store
from kvwrap.core.validation import checked_count, is_reserved
from kvwrap.errors import ConfigurationError
from kvwrap.rewriting.checkpoint import Checkpoint, CheckpointFile, Resume
from kvwrap.rewriting.scope import check_names
from kvwrap.rewriting.walk import Handle, Progress, Walk

Existing = Literal["keep", "replace"]


async def copy(
    source: Any,
    target: Any,
    *,
    prefix: str = "",
    collections: Sequence[Collection] | None = None,
    existing: Existing = "keep",
    batch: int = 100,
    progress: Callable[[Progress[CopyReport]], object] | None = None,
    resume: Resume | None = None,
) -> CopyReport:
    """Copy entries from one store to another, with their remaining time to live.

    Values go out of the source as a `get` returns them and into the target as a `put` does,
    through all layers of both. So the backends, the encryption and the serializers may differ.
    After each batch the target is read, and a value that is not equal is reported. A layer of
    the target that answers reads from copies, such as `ReadThrough`, may answer this one too:
    copy to a stack without it to compare what the backend has.

    Entries that cannot be read, or that the target refuses, are reported, and the others are
    copied. Other tasks and processes may read and write meanwhile. What they put into the source
    behind the position of the copy, or change after it was read, is not copied: copy again.

    A copy can be stopped at any point, also by cancellation, and started again. With `resume` it
    continues after the last key that was finished. For that, the keys of a collection are taken
    in their order. If the source has no order, they are listed first and sorted, so that their
    names are held in memory.

    Args:
        source: A store, or an object that `kvwrap.adapt` accepts.
        target: Likewise.
        prefix: The prefix of the keys to copy.
        collections: The collections to copy; `None` among them is the default one. If omitted:
            all, or the default one if the source cannot enumerate them.
        existing: What to do where the target has the key: "keep" its value, atomically if it has
            `Capability.COMPARE_AND_PUT`, or "replace" it.
        batch: Number of keys in one round trip.
        progress: Called after each batch, with a `Progress`.
        resume: The path of a file that holds the state while this runs, and is removed at
            the end; or the state of an earlier `Progress`.

    Raises:
        ConfigurationError: Both stores have the same backend; or an argument is invalid; or
            `resume` is not a state of this copy, or cannot be read or written.
        UnsupportedOperation: The source cannot enumerate its keys.
        StoreUnavailable: A backend failed. What is copied stays so; `resume` continues.
    """
    checked_count(batch, "batch")
    check_names(prefix, collections)
    if existing not in ("keep", "replace"):
        raise ConfigurationError(f"`existing` must be 'keep' or 'replace'; got {existing!r}")
    origin, destination = as_store(source), as_store(target)
    _check_apart(origin, destination)
    await check_listing(origin, origin.base, "a copy needs a source", origin.name)
    places = f"{origin.base.location} to {destination.base.location}"
    file = CheckpointFile(resume, CopyReport, "copy")
    chosen = [f"collections={collections!r}", f"prefix={prefix!r}", f"existing={existing}"]
    checkpoint = file.load(Checkpoint(places, chosen, CopyReport()))
    report = checkpoint.report
    names = await collections_of(origin) if collections is None else list(collections)

    def handler(collection: Collection) -> Handle:
        departures = Departures(origin, collection, report)
        arrivals = Arrivals(destination, collection, report, replace=existing == "replace")

        async def handle(keys: Sequence[str]) -> None:
            for items in await departures.read(keys):
                await arrivals.put(items)

        return handle

    with Walk(file, checkpoint, batch, progress) as walk:
        ordered = sorted(set(names), key=lambda name: (name is not None, name))
        await walk.through("values", origin._view, ordered, KeyRange(prefix), handler)
        report.left = await origin.count_unreadable()
    return report


async def collections_of(store: Store) -> list[Collection]:
    """Return the collections of a store, among them `None` for the default one."""
    if Capability.COLLECTIONS not in store.capabilities:
        return [None]
    return [name for name in await store._view.list_collections() if not is_reserved(name)]


def _check_apart(source: Store, target: Store) -> None:
    """Raise `ConfigurationError` for two stores over the same backend.

    A base without a location of its own gives its name, which says nothing.
    """
    one, other = source.base, target.base
    if one is other or one.location == other.location != other.name:
        raise ConfigurationError(
            "a copy needs two backends; `source` and `target` have the same one, in which the "
            "copy would find its own entries again",
            store=source.name,
        )
