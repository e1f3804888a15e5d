"""The kind of layer that changes the bytes of entries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from kvwrap.core.entry import Entry
from kvwrap.core.layer import Layer
from kvwrap.core.primitives import Collection, Expected


class Observer(Protocol):
    """Sees entries pass through a transform in both their forms; must be quick and not raise."""

    def on_read(
        self,
        layer: Transform,
        collection: Collection,
        keys: Sequence[str],
        stored: Sequence[Entry | None],
        plain: Sequence[Entry | None],
    ) -> None:
        """These came from inside as `stored`, and went outwards as `plain`."""

    def on_write(self, layer: Transform, stored: Sequence[Entry], written: Sequence[bool]) -> None:
        """These went inwards, and were written or not."""


class Transform(Layer):
    """A layer that states only `encode` and `decode`, one entry at a time.

    An encoded entry has this layer's step in front of its codec (`kvwrap.core.codec`), by
    which `decode` knows that it is to be undone. `prepare` is where a layer that needs
    something from elsewhere first, a key or a dictionary, may wait for it.
    """

    def encode(self, entry: Entry, collection: Collection, key: str) -> Entry:
        """The entry to be stored in place of this one."""
        return entry

    def decode(self, entry: Entry, collection: Collection, key: str) -> Entry:
        """The entry that `encode` was given; raises for one that is not of its making."""
        return entry

    async def prepare_encode(self, collection: Collection) -> None:
        """Have at hand what `encode` needs for entries of this collection."""

    async def prepare_decode(self, collection: Collection, entries: Iterable[Entry | None]) -> None:
        """Have at hand what `decode` needs for these."""

    def is_current(self, stored: Entry, plain: Entry, collection: Collection, key: str) -> bool:
        """Whether an entry lies there in the form in which `encode` would put it now.

        `kvwrap.rewrite` asks this, after `prepare_encode`. Unless a layer knows better, the
        entry is encoded once more to compare the steps.
        """
        encoded = self.encode(plain, collection, key)
        if encoded.codec == plain.codec:
            # Left as it is; there may be another library's form, which no codec tells of.
            return encoded.codec == stored.codec and encoded.body == stored.body
        return encoded.codec == stored.codec

    observer: Observer | None = None
    """Who looks on, while `kvwrap.rewrite` is at work."""

    def on_bind(self) -> None:
        self._waits_to_encode = type(self).prepare_encode is not Transform.prepare_encode
        self._waits_to_decode = type(self).prepare_decode is not Transform.prepare_decode

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        entries = await self.inner.read(collection, keys)
        if self._waits_to_decode:
            await self.prepare_decode(collection, entries)
        decode = self.decode
        decoded = [
            None if entry is None else decode(entry, collection, key)
            for key, entry in zip(keys, entries, strict=True)
        ]
        if self.observer is not None:
            self.observer.on_read(self, collection, keys, entries, decoded)
        return decoded

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if self._waits_to_encode:
            await self.prepare_encode(collection)
        encode = self.encode
        encoded = [encode(entry, collection, key) for key, entry in zip(keys, entries, strict=True)]
        written = await self.inner.write(collection, keys, encoded, expected)
        if self.observer is not None:
            self.observer.on_write(self, encoded, written)
        return written
