"""What is sealed with a value: its names, its creation time, its codec and its expiry.

The *sealed expiry* is the expiry time that the writer gave the entry. It is an annotation of
the codec, behind the encryption's own step and so part of the associated data. Parts inside
may make an entry expire earlier, in the header, but nothing makes it live longer.
"""

from __future__ import annotations

import struct

from kvwrap.layers.base import Collection, Entry, Layer, Masking, codec, expiry_ms

STEP_LENGTH = 5
"""Bytes of the codec step that names a key: the tag, and the key's id."""

_TIME = 6
_FORMAT = b"\x02"
_DEFAULT_COLLECTION = b"\x00"
_pack_collection_head = struct.Struct(">BI").pack
_pack_length = struct.Struct(">I").pack
_MARK = codec.annotation(codec.SEALED_EXPIRY, bytes(_TIME))[:-_TIME]
_START = STEP_LENGTH + len(_MARK)
_END = _START + _TIME
_ENCRYPTED = bytes((codec.ENCRYPTED,))


def context_head(context: bytes) -> bytes:
    """Return the beginning of the associated data, which is the same for all entries of a layer."""
    return _FORMAT + _pack_length(len(context)) + context


def associated_data(
    head: bytes, collection: Collection, key: str, created_at: float, steps: bytes
) -> bytes:
    """Return the associated data of a message: everything that it is bound to.

    A format byte, 2; the context, its length in four bytes first; the collection, as 0 for the
    default one, or 1, its length and its UTF-8; the key, its length first; the creation time in
    milliseconds, in six bytes; and the whole codec. Because each length comes first, no two
    combinations have the same bytes.

    Args:
        head: The format byte and the context, as `context_head` returns them.
        collection: The collection's name as the layer sees it.
        key: Likewise the key.
        created_at: The creation time in Unix seconds.
        steps: The codec, with the encryption's step.
    """
    name = key.encode()
    created = round(created_at * 1000).to_bytes(_TIME, "big")
    if collection is None:
        space, space_head = b"", _DEFAULT_COLLECTION
    else:
        space = collection.encode()
        space_head = _pack_collection_head(1, len(space))
    return b"".join((head, space_head, space, _pack_length(len(name)), name, created, steps))


def is_sealed(entry: Entry) -> bool:
    """Return True if the codec says that the entry is encrypted."""
    return codec.skip_annotations(entry.codec)[:1] == _ENCRYPTED


def with_sealed_expiry(steps: bytes, expires_at: float | None) -> bytes:
    """Return the codec to seal: with the expiry time in front, unless it is never."""
    if expires_at is None:
        return steps
    return _MARK + expiry_ms(expires_at).to_bytes(_TIME, "big") + steps


def split(entry: Entry) -> tuple[bytes, float | None]:
    """Return the codec and the expiry of the value in a sealed entry.

    The expiry is the header's, as the same object, or the sealed one if that is earlier.
    Annotations in front, which other layers left, are in neither.
    """
    steps, expires_at = entry.codec, entry.expires_at
    if steps[:1] != _ENCRYPTED:
        steps = codec.skip_annotations(steps)
    if steps[STEP_LENGTH:_START] != _MARK:
        return steps[STEP_LENGTH:], expires_at
    sealed = int.from_bytes(steps[_START:_END], "big")
    # The sealed time is rounded down to milliseconds, and the header's may not be.
    if expires_at is None or expires_at * 1000 >= sealed + 1:
        expires_at = sealed / 1000
    return steps[_END:], expires_at


def is_over(expires_at: float | None, entry: Entry, now: float) -> bool:
    """Return True if the expiry that `split` returned is over, and the header's is not."""
    return expires_at is not None and expires_at is not entry.expires_at and expires_at <= now


def has_sealed_expiry(steps: bytes) -> bool:
    """Return True if a codec has a sealed expiry in front, behind no step of encryption."""
    return codec.take_annotation(steps, codec.SEALED_EXPIRY)[0] is not None


class OutlivedEntries(Masking):
    """Hides entries whose sealed expiry is over, although their header says otherwise.

    The sealed expiry is read without opening the entry. Who can forge one in the past can also
    delete the entry.
    """

    masks_regularly = False
    # `Encryption.decode` hides what is read. It has to look at the sealed expiry anyway.
    read = Layer.read

    def is_masked(self, entry: Entry, collection: Collection, key: str) -> bool:
        return is_sealed(entry) and is_over(split(entry)[1], entry, self.clock.time())
