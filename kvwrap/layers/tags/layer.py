"""Tags: many entries become invalid at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import ClassVar, Self

from kvwrap.errors import CorruptEntry
from kvwrap.layers.base import (
    Capability,
    Collection,
    Entry,
    Finding,
    Keeping,
    Layer,
    Passage,
    Primitives,
    Store,
    Transform,
    checked_flag,
    checked_tags,
    counter,
    take,
)
from kvwrap.layers.shared.secrets import Secret, secret_bytes
from kvwrap.layers.tags.inside import has_cache, raw_stores
from kvwrap.layers.tags.masking import InvalidatedEntries, is_exempt
from kvwrap.layers.tags.records import BOUND, MOMENT, RESERVED, WHOLE, Records
from kvwrap.layers.tags.snapshots import (
    STEP,
    STEP_LENGTH,
    TagState,
    derived_key,
    load_snapshot,
    make_snapshot,
    snapshot_end,
    store_snapshot,
    tag_id,
    without_front,
)


class Tags(Keeping, Transform):
    """Gives entries tags, by which many become invalid at once (cache invalidation by tag).

    `put`, `put_many`, `get_or_put` and cached functions of the stack take `tags=`.
    `store.find(Tags)` has `invalidate`, `expire` and `clear`. These write one record for each tag,
    however many entries have it: an entry knows which versions its tags had, and one that has
    another version is missing for all methods from then on. Its space is freed when it expires, is
    replaced, or by `cull`.

    This process sees its own invalidations at once, and those of other processes when the backend
    tells them (`Capability.WATCH`), after one second at most. A record that is lost, such as by
    eviction, counts as invalidated.

    Entries from before the layer was added have no tags; `clear` ends them too.

    Args:
        secret: Hashes the names of tags, so that nobody without it can guess them in the backend:
            at least 16 bytes, or text that is at least 16 bytes long, or a `Key`. If omitted, the
            hash has no key. With another secret, all tags are others.
        only_read: True to read entries with tags and to give none, as long as other processes
            have a stack without the layer, which cannot read them. `tags=` is refused.
    """

    passage = Passage(
        read="finds nothing if a tag of the entry was invalidated",
        write="notes the versions of the entry's tags",
        value="tagged",
    )
    traits = frozenset({"tags"})
    reserved = (RESERVED,)
    finding_codes = frozenset(
        {
            "tags-cached-records",
            "tags-inside-cache",
            "tags-inside-encryption",
            "tags-over-raw",
            "tags-twice",
        }
    )
    figures: ClassVar = (
        *Transform.figures,
        counter(
            "tags.invalidations",
            "{tag}",
            "Tags ended by `invalidate`, `expire` or `clear` of this process.",
            path="_records.invalidations",
        ),
        counter(
            "tags.invalid",
            "{entry}",
            "Entries read that had been invalidated.",
            path="_masking.found_invalid",
        ),
        counter(
            "tags.record_reads",
            "{record}",
            "Records of tags read from the store.",
            path="_records.record_reads",
        ),
    )
    keeps_records = True
    _records: Records
    _whole: bytes
    _masking: InvalidatedEntries
    _read_stored: Callable[[Collection, Sequence[str]], Awaitable[list[Entry | None]]]

    def __init__(
        self, secret: bytes | str | Secret | None = None, *, only_read: bool = False
    ) -> None:
        # A derived key, so that the hashes reveal nothing about another use of the secret.
        self._key = b"" if secret is None else derived_key(secret_bytes(secret))
        self.only_read = checked_flag(only_read, "only_read")

    def bind(self, inner: Primitives) -> Self:
        records = Records(inner, is_cached=has_cache(inner))
        masking = InvalidatedEntries(records).bind(inner)
        part = super().bind(masking)
        part._records, part._masking, part._read_stored = records, masking, inner.read
        records.ready = part.ready
        return part

    async def teardown(self) -> None:
        await self._records.hearing.close()
        await super().teardown()

    # -- for users ---------------------------------------------------------------------

    async def invalidate(self, *tags: str) -> None:
        """Make all entries with one of these tags missing.

        When it returns, this process finds none of them, and others find none a second later. If
        it fails or is cancelled, some of the tags may be invalidated.

        Raises:
            ConfigurationError: A tag is not a text, or empty.
        """
        if tags:
            await self._records.replace(self._ids(tags))

    async def expire(self, *tags: str) -> None:
        """Make all entries with one of these tags stale.

        They are as missing as after `invalidate`, except for calls with `stale_ttl`: those may get
        the value for that time from now on, if it cannot be computed again.

        Raises:
            ConfigurationError: A tag is not a text, or empty.
            UnsupportedOperation: The store cannot compare versions.
        """
        if Capability.COMPARE_AND_PUT not in self.inner.capabilities:
            raise self.unsupported(
                "expire tags, since the store cannot compare versions: use `invalidate`"
            )
        if tags:
            await self._records.expire(self._ids(tags))

    async def clear(self) -> None:
        """Make all entries missing, those without tags too; in the time of `invalidate`."""
        await self._records.replace([WHOLE])

    def _ids(self, tags: Sequence[str]) -> list[bytes]:
        return [tag_id(tag, self._key) for tag in checked_tags(tags, most=None)]

    # -- for the methods of a store ----------------------------------------------------

    @property
    def changes(self) -> int:
        return self._records.tag_changes

    def may_join(self, began: float, came: float) -> bool:
        # Half of it, since a computation in the background may have joined another one.
        return came < began + BOUND / 2 or self._records.hearing.is_heard(self.clock.monotonic())

    async def snapshot_of(self, tags: Sequence[str]) -> bytes:
        """Return a snapshot of these tags, for a value that is made from now on."""
        ids = [tag_id(tag, self._key) for tag in tags]
        whole, *records = await self._records.ensure([WHOLE, *ids])
        states = [
            TagState(identity, record.version, record.mark)
            for identity, record in zip(ids, records, strict=True)
        ]
        return make_snapshot(whole.version, states)

    async def moment(self) -> bytes:
        """Return what `snapshots_since` compares, before a value is made whose tags follow."""
        (record,) = await self._records.ensure([MOMENT])
        return record.version

    async def snapshots_since(
        self, tags: Sequence[Sequence[str]], moment: bytes
    ) -> list[bytes] | None:
        """Return snapshots of the tags of several entries; `None` if any tag has changed since."""
        every = {identity for each in tags for identity in self._ids(each)}
        # In this order, since a change passes to another moment before it changes the tag.
        await self._records.load([WHOLE, *every], fresh=True)
        await self._records.ensure([WHOLE, *every])
        snapshots = [await self.snapshot_of(each) for each in tags]
        latest = await self._records.latest(MOMENT)
        return snapshots if latest is not None and latest.version == moment else None

    # -- entries -----------------------------------------------------------------------

    async def prepare_encode(self, collection: Collection) -> None:
        if is_exempt(collection, ""):
            return
        if self.only_read:
            self._whole = await self._records.cleared()
        else:
            (record,) = await self._records.ensure([WHOLE])
            self._whole = record.version

    def encode(self, entry: Entry, collection: Collection, key: str) -> Entry:
        if is_exempt(collection, key):
            return entry
        return store_snapshot(entry, self._whole)

    def decode(self, entry: Entry, collection: Collection, key: str) -> Entry:
        if is_exempt(collection, key):
            return entry
        try:
            return load_snapshot(entry)
        except CorruptEntry as error:
            error.store, error.collection, error.key = self.name, collection, key
            raise

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        entries = await self._read_stored(collection, keys)
        mark_of = self._records.mark_of
        read: list[Entry | None] = []
        unknown: list[int] = []
        for index, entry in enumerate(entries):
            if entry is not None:
                # Most have a snapshot that was found to be valid: nothing else is done for these.
                steps, body = entry.codec, entry.body
                end = snapshot_end(body) if steps[:STEP_LENGTH] == STEP else 0
                mark = mark_of(body[1:end]) if end else None
                if mark is None:
                    unknown.append(index)
                else:
                    steps = mark + steps[STEP_LENGTH:]
                    entry = without_front(entry, end, steps)  # noqa: PLW2901
            read.append(entry)
        if unknown:
            await self._read_unknown(collection, keys, read, unknown)
        return read

    async def _read_unknown(
        self,
        collection: Collection,
        keys: Sequence[str],
        read: list[Entry | None],
        indexes: Sequence[int],
    ) -> None:
        """Judge and decode the stored entries at these indexes."""
        judged = await self._judged(collection, keys, read, indexes)
        if self._records.is_cached and None in judged.values():
            # What is invalid may be a copy, and the entry have been replaced.
            masked = [index for index, entry in judged.items() if entry is None]
            names = take(keys, masked)
            await self._records.drop_copies(collection, names)
            for index, entry in zip(masked, await self._read_stored(collection, names)):
                read[index] = entry
            judged |= await self._judged(collection, keys, read, masked)
        for index, entry in judged.items():
            if entry is None and read[index] is not None:
                self._masking.found_invalid += 1
            read[index] = None if entry is None else self.decode(entry, collection, keys[index])

    async def _judged(
        self,
        collection: Collection,
        keys: Sequence[str],
        stored: Sequence[Entry | None],
        indexes: Sequence[int],
    ) -> dict[int, Entry | None]:
        """Return the stored entries at these indexes as they are to be found, by index."""
        judged = await self._masking.judge(collection, take(keys, indexes), take(stored, indexes))
        return dict(zip(indexes, judged, strict=True))

    # -- findings and notes ------------------------------------------------------------

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        for layer in above:
            if "encrypts" in layer.traits:
                yield Finding(
                    "tags-inside-encryption",
                    f"Tags is inside {layer.name}, which seals what Tags has to change.",
                    "Put .tags() before .encrypt(...), which then hides the tags too.",
                    fatal=True,
                )
            if "tags" in layer.traits:
                yield Finding(
                    "tags-twice",
                    "The stack has two layers that keep tags, which share their records.",
                    "Put only one .tags() into the stack.",
                    fatal=True,
                )
            if "caches" in layer.traits:
                yield Finding(
                    "tags-inside-cache",
                    f"A hit of {layer.name} never reaches Tags, so an invalidated entry is served "
                    "until its copy ends.",
                    "Put .tags() before the cache.",
                )
        raw = raw_stores(self.inner)
        if raw:
            yield Finding(
                "tags-over-raw",
                f"Tags puts what it keeps before every value, and {raw[0]} has raw=True, so "
                "other programs could read no value that is put here.",
                "Put .tags() over a store without raw=True.",
                fatal=True,
            )
        if has_cache(self.inner) and Capability.COMPARE_AND_PUT not in self.inner.capabilities:
            yield Finding(
                "tags-cached-records",
                "Tags is over a cache that it cannot pass without conditional writes, so records "
                "of tags come from copies: an invalidated entry is served until these end.",
                "Put .read_only() before .tags(), or use a store that compares versions.",
            )

    def notes(self) -> Iterable[str]:
        obstacle = self._records.hearing.obstacle() if hasattr(self, "_records") else ""
        if obstacle:
            yield (
                f"an invalidation by another process is seen {BOUND:g} s later at most, since "
                f"{obstacle}"
            )
        else:
            yield (
                "an invalidation by another process is seen when it is told, after at most "
                f"{BOUND:g} s"
            )
