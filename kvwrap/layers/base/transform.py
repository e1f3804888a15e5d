"""Base class of layers that change the bytes of entries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kvwrap.core.entry import Entry
from kvwrap.core.layer import Layer
from kvwrap.core.primitives import Collection, Expected


class Transform(Layer):
    """A layer that implements only `encode` and `decode`, for one entry at a time.

    An encoded entry has this layer's step in front of its codec (`kvwrap.core.codec`). By
    that step `decode` recognizes it. A layer that first has to fetch something, such as a key
    or a dictionary, awaits it in `prepare_encode` and `prepare_decode`.
    """

    def encode(self, entry: Entry, collection: Collection, key: str) -> Entry:
        """Return the entry to store instead of this one."""
        return entry

    def decode(self, entry: Entry, collection: Collection, key: str) -> Entry | None:
        """Return the entry that `encode` was given; `None` if users must not find it any more.

        A layer that returns `None` also puts a `Masking` layer between itself and `inner`,
        which hides such entries from everything but reads.

        Raises a typed error if the entry cannot be decoded: the bytes are damaged, or the layer
        refuses entries that it did not encode.
        """
        return entry

    async def prepare_encode(self, collection: Collection) -> None:
        """Fetch what `encode` needs for entries of this collection."""

    async def prepare_decode(self, collection: Collection, entries: Iterable[Entry | None]) -> None:
        """Fetch what `decode` needs for these entries."""

    def is_current(self, stored: Entry, plain: Entry, collection: Collection, key: str) -> bool:
        """Return True if an entry is stored in the form that `encode` produces now.

        `kvwrap.rewrite` calls this after `prepare_encode`. By default the entry is encoded
        again and the codecs are compared. A layer with a cheaper or stricter test overrides it.

        Args:
            stored: The entry as `inner` returned it.
            plain: The same entry, decoded.
        """
        encoded = self.encode(plain, collection, key)
        if encoded.codec == plain.codec:
            # Not encoded. The stored body may be in another library's form, which no codec records.
            return encoded.codec == stored.codec and encoded.body == stored.body
        return encoded.codec == stored.codec

    def on_bind(self) -> None:
        self._prepares_encode = type(self).prepare_encode is not Transform.prepare_encode
        self._prepares_decode = type(self).prepare_decode is not Transform.prepare_decode

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        entries = await self.inner.read(collection, keys)
        if self._prepares_decode:
            await self.prepare_decode(collection, entries)
        decode = self.decode
        return [
            None if entry is None else decode(entry, collection, key)
            for key, entry in zip(keys, entries, strict=True)
        ]

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if self._prepares_encode:
            await self.prepare_encode(collection)
        encode = self.encode
        encoded = [encode(entry, collection, key) for key, entry in zip(keys, entries, strict=True)]
        return await self.inner.write(collection, keys, encoded, expected)
