"""Entries that py-key-value's wrappers for encryption and compression wrote.

Both put a mapping of two or three fields in place of the value, with its bytes in base64.
They are found by the field names, as the wrappers themselves find them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from typing import Any

import msgspec

from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection
from kvwrap.core.validation import checked_count
from kvwrap.errors import ConfigurationError, CorruptEntry, DecryptionError
from kvwrap.integrations.fernet import PLAIN, FernetKeys, opener

_ENCRYPTED = "__encrypted_data__"
_ENCRYPTION_VERSION = "__encryption_version__"
_COMPRESSED = "__compressed_data__"
_COMPRESSION_VERSION = "__compression_version__"
_COMPRESSION_ALGORITHM = "__compression_algorithm__"
_VERSION = 1
_PBKDF2_ROUNDS = 1_200_000
_GZIP_WINDOW = 16 + zlib.MAX_WBITS

_loads = msgspec.json.Decoder().decode


class PyKeyValueEncryption:
    """Reads what `FernetEncryptionWrapper` wrote: for `Encryption(legacy=[...])`.

    These entries are bound to no name: one that was copied to another key opens there, until
    it has been rewritten. Where the wrapper passed values through that were not encrypted,
    this refuses them unless the layer has `accept_plaintext=True`.

    Args:
        fernet: The `Fernet` or `MultiFernet` that the wrapper had, or its keys.
        source_material: The wrapper's argument of this name, with `salt`, in place of `fernet`.
            Deriving the key takes about half a second, once, here.
        salt: As the wrapper had it.
    """

    authenticates = True

    def __init__(
        self,
        fernet: FernetKeys | None = None,
        *,
        source_material: str | None = None,
        salt: str | None = None,
    ) -> None:
        derived = bool(source_material) and bool(salt)
        if (fernet is None) is not derived or (not derived and (source_material or salt)):
            raise ConfigurationError(
                "PyKeyValueEncryption takes fernet, or source_material and salt together: "
                "whichever FernetEncryptionWrapper had"
            )
        if fernet is None:
            assert source_material is not None
            assert salt is not None
            raw = hashlib.pbkdf2_hmac(
                "sha256", source_material.encode(), salt.encode(), _PBKDF2_ROUNDS, 32
            )
            fernet = base64.urlsafe_b64encode(raw)
        self._opens = opener(fernet)

    def read(self, entry: Entry, collection: Collection, key: str) -> Entry | None:
        fields = _fields(entry, _ENCRYPTED)
        if fields is None:
            return None
        version, data = fields.get(_ENCRYPTION_VERSION), fields[_ENCRYPTED]
        if version != _VERSION:
            raise DecryptionError(
                f"an entry of py-key-value with encryption version {version!r}; this reads "
                f"{_VERSION}",
                collection=collection,
                key=key,
            )
        return entry.with_body(
            self._opens(_bytes(data, collection, key), collection, key), codec.JSON
        )

    def __repr__(self) -> str:
        return "PyKeyValueEncryption(...)"


class PyKeyValueCompression:
    """Reads what `CompressionWrapper` wrote: for `Compression(legacy=[...])`.

    Where the wrapper hands out the broken mapping itself, this raises `CorruptEntry`.

    Args:
        max_bytes: The largest value that is unpacked, so that a small forged entry does not
            fill the memory.
    """

    authenticates = False

    def __init__(self, *, max_bytes: int = 2**30) -> None:
        self._max_bytes = checked_count(max_bytes, "max_bytes")

    def read(self, entry: Entry, collection: Collection, key: str) -> Entry | None:
        fields = _fields(entry, _COMPRESSED)
        if fields is None:
            return None
        version = fields.get(_COMPRESSION_VERSION, _VERSION)
        algorithm = fields.get(_COMPRESSION_ALGORITHM, "gzip")
        if version != _VERSION or algorithm != "gzip":
            raise CorruptEntry(
                f"an entry of py-key-value compressed with {algorithm!r}, version {version!r}; "
                f"this reads gzip, version {_VERSION}",
                collection=collection,
                key=key,
            )
        packed = zlib.decompressobj(_GZIP_WINDOW)
        try:
            body = packed.decompress(_bytes(fields[_COMPRESSED], collection, key), self._max_bytes)
            whole = packed.eof
        except zlib.error:
            body, whole = b"", False
        if not whole:
            raise CorruptEntry(
                "an entry of py-key-value whose gzip data is broken, or unpacks to over "
                f"max_bytes={self._max_bytes}",
                collection=collection,
                key=key,
            )
        return entry.with_body(body, codec.JSON)

    def __repr__(self) -> str:
        return "PyKeyValueCompression()"


def _fields(entry: Entry, field: str) -> dict[str, Any] | None:
    """The entry's mapping, if it has this field."""
    # The bytes are searched first, so that ordinary values are not parsed here.
    if entry.codec not in PLAIN or field.encode() not in entry.body:
        return None
    try:
        fields = _loads(entry.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return fields if isinstance(fields, dict) and field in fields else None


def _bytes(text: object, collection: Collection, key: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else _refused()
    except (ValueError, binascii.Error):
        raise CorruptEntry(
            "an entry of py-key-value whose data is not base64", collection=collection, key=key
        ) from None


def _refused() -> bytes:
    raise ValueError
