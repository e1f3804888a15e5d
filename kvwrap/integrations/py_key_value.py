"""Entries that py-key-value's wrappers for encryption and compression wrote.

Both wrappers replace the value by a mapping of two or three fields, with the bytes in
base64. The readers here recognize these entries by the field names, as the wrappers do.
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
from kvwrap.core.validation import is_name
from kvwrap.errors import ConfigurationError, CorruptEntry, DecryptionError
from kvwrap.integrations.fernet import FOREIGN_CODECS, FernetKeys, TokenOpener

_ENCRYPTED = "__encrypted_data__"
_ENCRYPTION_VERSION = "__encryption_version__"
_COMPRESSED = "__compressed_data__"
_COMPRESSION_VERSION = "__compression_version__"
_COMPRESSION_ALGORITHM = "__compression_algorithm__"
_VERSION = 1
_PBKDF2_ROUNDS = 1_200_000
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_LARGEST = 32 * 2**20

_loads = msgspec.json.Decoder().decode


class PyKeyValueEncryption:
    """Reads entries that `FernetEncryptionWrapper` wrote: for `Encryption(legacy=[...])`.

    These entries are not bound to a name. An entry that was copied to another key opens
    there, until it has been rewritten. The wrapper returned values that were not encrypted.
    This reader does not, and the layer refuses them unless it has `accept_plaintext=True`.

    Args:
        fernet: The `Fernet` or `MultiFernet` of the wrapper, or its keys.
        source_material: The wrapper's argument of this name, with `salt`, instead of `fernet`.
            Deriving the key takes about half a second, once, in this constructor.
        salt: The wrapper's argument of this name.
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
            arguments = {"fernet": fernet, "source_material": source_material, "salt": salt}
            passed = [f"`{name}`" for name, argument in arguments.items() if argument]
            raise ConfigurationError(
                "PyKeyValueEncryption needs either `fernet`, or both `source_material` and "
                f"`salt`; got {', '.join(passed) or 'none of them'}: pass the arguments that "
                "FernetEncryptionWrapper had"
            )
        if fernet is None:
            assert source_material is not None
            assert salt is not None
            if not (is_name(source_material) and is_name(salt)):
                raise ConfigurationError(
                    "`source_material` and `salt` must be texts of valid Unicode; got others"
                )
            derived_key = hashlib.pbkdf2_hmac(
                "sha256", source_material.encode(), salt.encode(), _PBKDF2_ROUNDS, 32
            )
            fernet = base64.urlsafe_b64encode(derived_key)
        self._opener = TokenOpener(fernet)

    def read(
        self, entry: Entry, collection: Collection, key: str, *, limit: int | None = None
    ) -> Entry | None:
        fields = _fields(entry, _ENCRYPTED)
        if fields is None:
            return None
        version, data = fields.get(_ENCRYPTION_VERSION), fields[_ENCRYPTED]
        if version != _VERSION:
            raise DecryptionError(
                f"an encrypted entry of py-key-value must have version {_VERSION}, the only one "
                "that can be read; this one has another",
                collection=collection,
                key=key,
            )
        token = _decode_base64(data, collection, key)
        front, _ = codec.split_annotations(entry.codec)
        return entry.with_body(self._opener.open(token, collection, key), front + codec.JSON)

    def __repr__(self) -> str:
        return "PyKeyValueEncryption(...)"


class PyKeyValueCompression:
    """Reads entries that `CompressionWrapper` wrote: for `Compression(legacy=[...])`.

    For a corrupt entry, the wrapper returns the mapping itself. This raises `CorruptEntry`.
    The layer's `max_size` bounds what they decompress to.
    """

    authenticates = False

    def read(
        self, entry: Entry, collection: Collection, key: str, *, limit: int | None = None
    ) -> Entry | None:
        fields = _fields(entry, _COMPRESSED)
        if fields is None:
            return None
        version = fields.get(_COMPRESSION_VERSION, _VERSION)
        algorithm = fields.get(_COMPRESSION_ALGORITHM, "gzip")
        if version != _VERSION or algorithm != "gzip":
            raise CorruptEntry(
                "a compressed entry of py-key-value must have algorithm 'gzip' and version "
                f"{_VERSION}, the only ones that can be read; this one has others",
                collection=collection,
                key=key,
            )
        compressed = _decode_base64(fields[_COMPRESSED], collection, key)
        decompressor = zlib.decompressobj(_GZIP_WINDOW)
        most = _LARGEST if limit is None else limit
        try:
            body = decompressor.decompress(compressed, most)
            complete = decompressor.eof
        except zlib.error:
            body, complete = b"", False
        if not complete:
            raise CorruptEntry(
                "a compressed entry of py-key-value must be valid gzip data of at most "
                f"{most} bytes decompressed; this one is corrupt or larger",
                collection=collection,
                key=key,
            )
        return entry.with_body(body, codec.split_annotations(entry.codec)[0] + codec.JSON)

    def __repr__(self) -> str:
        return "PyKeyValueCompression()"


def _fields(entry: Entry, field: str) -> dict[str, Any] | None:
    """Return the entry's mapping, or `None` if it is not one with this field."""
    # The bytes are searched first, so that ordinary values are not parsed here.
    if (
        codec.skip_annotations(entry.codec) not in FOREIGN_CODECS
        or field.encode() not in entry.body
    ):
        return None
    try:
        fields = _loads(entry.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return fields if isinstance(fields, dict) and field in fields else None


def _decode_base64(text: object, collection: Collection, key: str) -> bytes:
    try:
        if isinstance(text, str):
            return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        pass
    raise CorruptEntry(
        "the data of an entry of py-key-value must be base64; this entry's is not base64",
        collection=collection,
        key=key,
    )
