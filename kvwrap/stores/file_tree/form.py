"""The form of a file: a line of JSON about the entry, then the value.

    {"kvwrap":1,"created":"2026-11-28T22:54:43.123Z","version":"9f…","codec":"json","crc":"8d1f22ab"}
    {"visits":1}

The value of an entry that no layer has changed is JSON, and a line of its own. Any other value is
the rest of the file.
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from kvwrap.core import codec
from kvwrap.core.entry import Entry, expiry_ms, foreign
from kvwrap.core.primitives import Collection
from kvwrap.errors import CorruptEntry
from kvwrap.stores.file_tree.places import NAMES, Place

FORMAT: Final = 1

_START: Final = b'{"kvwrap":'
_CRC: Final = b',"crc":"%08x"}'
_CRC_LENGTH: Final = len(_CRC % 0)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_LAST: Final = (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH) // _MILLISECOND
"""The last second that the text of a time can be; a later expiry is this one."""

_CODECS: Final = {
    "json": codec.JSON,
    "msgpack": codec.MSGPACK,
    "pickle": codec.PICKLE,
    "bytes": codec.BYTES,
}
_CODEC_NAMES: Final = {steps: name for name, steps in _CODECS.items()}


class Head(msgspec.Struct, omit_defaults=True):
    """The first line of a file, but for its checksum.

    Attributes:
        kvwrap: Number of the form.
        created: Creation time.
        version: The entry's version, in hex.
        codec: The steps of the codec: the name of a single one, or all in hex.
        expires: Expiry time, if there is one.
        collection: Name of the collection, if its folder has a hash for it.
        key: The key, if its file has a hash for it.
    """

    kvwrap: int
    created: datetime
    version: str
    codec: str
    expires: datetime | None = None
    collection: str | None = None
    key: str | None = None

    @property
    def expires_at(self) -> float | None:
        """Expiry time in Unix seconds, None for never."""
        if self.expires is None:
            return None
        # A time that a person wrote without a zone is meant as the others are.
        time = self.expires if self.expires.tzinfo else self.expires.replace(tzinfo=UTC)
        return time.timestamp()


_encode_head = msgspec.json.Encoder().encode
_decode_head = msgspec.json.Decoder(Head).decode


class FileForm:
    """Writes and reads the bytes of files.

    Args:
        store: Name of the store, for errors.
        raw: True if files without a head are entries too: other programs' values.
    """

    def __init__(self, store: str, *, raw: bool) -> None:
        self._store = store
        self._raw = raw

    def to_bytes(self, entry: Entry, collection: Collection, key: str, place: Place) -> bytes:
        """Return the content of the file of an entry."""
        hashed_collection = collection if NAMES.is_hashed(place.folder) else None
        hashed_key = key if NAMES.is_hashed(place.file) else None
        if self._raw and entry.expires_at is None and codec.is_bare(entry.codec):
            is_named = hashed_collection is None and hashed_key is None
            if is_named and not has_head(entry.body):
                return entry.body
        entry = entry.with_lasting_version()
        expiry = expiry_ms(entry.expires_at)
        head = Head(
            FORMAT,
            _to_datetime(round(entry.created_at * 1000)),
            f"{entry.version:016x}",
            _CODEC_NAMES.get(entry.codec) or entry.codec.hex(),
            _to_datetime(expiry) if expiry else None,
            hashed_collection,
            hashed_key,
        )
        start = _encode_head(head)[:-1]
        rest = entry.body + b"\n" if entry.codec == codec.JSON else entry.body
        return b"".join((start, _crc(place, start, rest), b"\n", rest))

    def from_bytes(
        self, data: bytes, collection: Collection, key: str, place: Place, now: float
    ) -> Entry:
        """Return the entry in a file, expired ones too.

        A JSON value, or a head, that a person has edited gets the version of a foreign value.

        Raises:
            CorruptEntry: The file is another program's, or damaged.
        """
        if not has_head(data):
            if self._raw:
                return foreign(data, collection, key, now, None)
            raise self._corrupt(
                "the file of this key must be one that kvwrap wrote: to read what another program "
                "wrote, open the store with raw=True",
                collection,
                key,
            )
        line, _, rest = data.partition(b"\n")
        head = self._parse(line, collection, key)
        steps = self._steps(head, collection, key)
        is_json = steps == codec.JSON
        body = rest[:-1] if is_json else rest
        if line.endswith(_crc(place, line[:-_CRC_LENGTH], rest)):
            version = int(head.version, 16)
            return Entry(body, steps, head.created.timestamp(), head.expires_at, version)
        # A part of a file has no end of the line. No edit can be told from damage but in text.
        if is_json and rest.endswith(b"\n") and self._is_named(head, place):
            return foreign(body, collection, key, now, head.expires_at, codec.JSON)
        raise self._corrupt(
            "the file of this key was altered, truncated, or written under another name",
            collection,
            key,
        )

    def head_of(self, data: bytes) -> Head | None:
        """Return the head in the beginning of a file.

        Returns None for the file of another program, and for a damaged head.
        """
        try:
            return _decode_head(data.partition(b"\n")[0]) if has_head(data) else None
        except (msgspec.MsgspecError, UnicodeError):
            return None

    def is_own(self, start: bytes) -> bool:
        """Return True if a file that begins so is an entry."""
        return self._raw or has_head(start)

    def is_replaceable(self, start: bytes) -> bool:
        """Return True if a file that begins so may be replaced: an entry, or what is left of one.

        A system that crashes can leave an empty file, unless the store is durable.
        """
        return self._raw or start[: len(_START)] == _START[: len(start)]

    def _parse(self, line: bytes, collection: Collection, key: str) -> Head:
        head = self.head_of(line)
        if head is None:
            raise self._corrupt(
                "the first line of the file of this key must be the head of an entry; it is "
                "damaged",
                collection,
                key,
            )
        if head.kvwrap != FORMAT:
            raise self._corrupt(
                f"the file of this key must have form {FORMAT}; got form {head.kvwrap}, which "
                "another version of kvwrap may read",
                collection,
                key,
            )
        return head

    def _steps(self, head: Head, collection: Collection, key: str) -> bytes:
        try:
            int(head.version, 16)
            steps = _CODECS.get(head.codec)
            return bytes.fromhex(head.codec) if steps is None else steps
        except ValueError:
            raise self._corrupt(
                "the version and the codec in the first line of the file of this key must be "
                "numbers in hex; they are not",
                collection,
                key,
            ) from None

    @staticmethod
    def _is_named(head: Head, place: Place) -> bool:
        """Return True if the head has the names that a hash stands for."""
        return all(
            not NAMES.is_hashed(encoded) or (name is not None and NAMES.encode(name) == encoded)
            for encoded, name in ((place.folder, head.collection), (place.file, head.key))
        )

    def _corrupt(self, message: str, collection: Collection, key: str) -> CorruptEntry:
        return CorruptEntry(message, store=self._store, collection=collection, key=key)


def has_head(data: bytes) -> bool:
    """Return True if a file begins like the head of an entry."""
    return data.startswith(_START)


def _to_datetime(ms: int) -> datetime:
    return _EPOCH + min(ms, _LAST) * _MILLISECOND


def _crc(place: Place, start: bytes, rest: bytes) -> bytes:
    """Return the end of the first line, for its beginning and what comes after it."""
    return _CRC % zlib.crc32(rest, zlib.crc32(start, zlib.crc32(place.path.encode())))
