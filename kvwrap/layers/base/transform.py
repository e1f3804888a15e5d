"""Base class of layers that change the bytes of entries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.figures import Figure, counter
from kvwrap.core.layer import Layer
from kvwrap.core.primitives import Collection, Expected
from kvwrap.core.threads import compute_in_thread


class Transform(Layer):
    """A layer that implements only `encode` and `decode`, for one entry at a time.

    An encoded entry has this layer's step in front of its codec (`kvwrap.core.codec`). By
    that step `decode` recognizes it. A layer that first has to fetch something, such as a key
    or a dictionary, awaits it in `prepare_encode` and `prepare_decode`.

    Encoding or decoding a large entry would keep the event loop from other work. A layer that
    does it in a library that releases the interpreter's lock overrides `begin_encode` and
    `begin_decode` as well.

    Attributes:
        input_bytes: Bytes of the entries written so far, before this layer.
        output_bytes: The same, after it.
    """

    figures: ClassVar[tuple[Figure, ...]] = (
        counter(
            "transform.input",
            "By",
            "Bytes of entries written, before this layer.",
            path="input_bytes",
        ),
        counter(
            "transform.output",
            "By",
            "Bytes of entries written, after this layer.",
            path="output_bytes",
        ),
    )
    input_bytes = 0
    output_bytes = 0

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

    def begin_encode(
        self, entry: Entry, collection: Collection, key: str
    ) -> Entry | Callable[[], Entry]:
        """Encode an entry like `encode`, or return a function that does so in a thread.

        What depends on the state of this layer is done at once. The function must not use what
        another thread may use at the same time.
        """
        return self.encode(entry, collection, key)

    def begin_decode(
        self, entry: Entry, collection: Collection, key: str
    ) -> Entry | Callable[[], Entry | None] | None:
        """Decode an entry like `decode`, or return a function as `begin_encode` does."""
        return self.decode(entry, collection, key)

    async def prepare_encode(self, collection: Collection) -> None:
        """Fetch what `encode` needs for entries of this collection."""

    async def prepare_decode(self, collection: Collection, entries: Iterable[Entry | None]) -> None:
        """Fetch what `decode` needs for these entries."""

    def is_prepared(self, entry: Entry) -> bool:
        """Return True if `prepare_decode` has nothing to fetch for this entry.

        A layer that rarely has to fetch something overrides it: `read` of one key then awaits
        nothing else than the entry.
        """
        return not self._prepares_decode

    def is_current(self, stored: Entry, plain: Entry, collection: Collection, key: str) -> bool:
        """Return True if an entry is stored in the form that `encode` produces now.

        `kvwrap.rewrite` calls this after `prepare_encode`. By default the entry is encoded
        again and the codecs are compared, except for the places of annotations. A layer with a
        cheaper or stricter test overrides it.

        Args:
            stored: The entry as `inner` returned it.
            plain: The same entry, decoded.
        """
        encoded = self.encode(plain, collection, key)
        if encoded.codec == plain.codec:
            # Not encoded. The stored body may be in another library's form, which no codec records.
            return encoded.codec == stored.codec and encoded.body == stored.body
        return codec.same_form(encoded.codec, stored.codec)

    def on_bind(self) -> None:
        self._prepares_encode = type(self).prepare_encode is not Transform.prepare_encode
        self._prepares_decode = type(self).prepare_decode is not Transform.prepare_decode

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        entries = await self.inner.read(collection, keys)
        if len(keys) == 1:
            (entry,) = entries
            if entry is None:
                return entries
            if self._prepares_decode and not self.is_prepared(entry):
                await self.prepare_decode(collection, entries)
            decoded = self.begin_decode(entry, collection, keys[0])
            return [await compute_in_thread(decoded) if callable(decoded) else decoded]
        if self._prepares_decode:
            await self.prepare_decode(collection, entries)
        begin = self.begin_decode
        # All at once: while one is awaited, another task may change the state of this layer.
        begun = [
            entry if entry is None else begin(entry, collection, key)
            for key, entry in zip(keys, entries, strict=True)
        ]
        return [await compute_in_thread(each) if callable(each) else each for each in begun]

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if self._prepares_encode:
            await self.prepare_encode(collection)
        if len(keys) == 1:
            (entry,) = entries
            encoded = self.begin_encode(entry, collection, keys[0])
            if callable(encoded):
                encoded = await compute_in_thread(encoded)
            self.input_bytes += len(entry.body)
            self.output_bytes += len(encoded.body)
            return await self.inner.write(collection, keys, (encoded,), expected)
        begin = self.begin_encode
        begun = [begin(entry, collection, key) for key, entry in zip(keys, entries, strict=True)]
        finished = [await compute_in_thread(each) if callable(each) else each for each in begun]
        self.input_bytes += sum([len(entry.body) for entry in entries])
        self.output_bytes += sum([len(entry.body) for entry in finished])
        return await self.inner.write(collection, keys, finished, expected)
