"""Authenticated encryption of values, bound to collection and key."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kvwrap.errors import ConfigurationError, DecryptionError, ValueTooLarge
from kvwrap.keyring.cipher import Cipher
from kvwrap.keyring.source import BoundKeys, KeySource
from kvwrap.layers.base import (
    Collection,
    Entry,
    Finding,
    Layer,
    LegacyReader,
    Store,
    Transform,
    checked_count,
    checked_flag,
    checked_readers,
    codec,
)

_ENCRYPTED = bytes((codec.ENCRYPTED,))

_STEP_LENGTH = 5
"""Bytes of the codec step that names a key: the tag, and the key's id."""

_DEFAULT_COLLECTION = b"\x01\x00"
_pack_collection_head = struct.Struct(">BBI").pack
_pack_length = struct.Struct(">I").pack


class Encryption(Transform):
    """Encrypts values, and binds each to its collection, its key and the steps in its header.

    Reading raises `DecryptionError` for an entry that was altered, truncated, sealed with
    another key, or copied from another name. The body at rest is a nonce of 12 bytes, the
    ciphertext and a tag of 16 bytes. The header names the key by 5 bytes. Collections, keys,
    expiry and the length of values are not hidden; see `HashedKey` for keys.

    Args:
        keyring: A `Keyring`, one that is fetched (`Keyring.from_callable`), or one of wrapped
            keys (`EnvelopeKeyring`).
        accept_plaintext: Whether values that are not encrypted are read, during a migration
            of old data. Anyone who can write to the backend can then forge values.
        seal: False writes plaintext and only opens sealed entries: until a deployment has
            reached every process, or to remove encryption again. Needs `accept_plaintext`.
        legacy: Readers of entries that other libraries encrypted, tried in this order; see
            `kvwrap.integrations`.
        message_limit: Number of writes with one key in this process after which writing is
            refused, if lower than the algorithm's limit (2^32 for AES-256-GCM and
            ChaCha20-Poly1305, 2^48 for AES-256-GCM-SIV).

    Reads raise `DecryptionError`. Writes raise `ConfigurationError` when the primary key has
    reached its limit, and `ValueTooLarge` over 2 GiB; nothing is written then.
    """

    traits = frozenset({"encrypts"})
    finding_codes = frozenset({"double-encryption", "migration-open", "plaintext-pickle"})
    _keys: BoundKeys

    def __init__(
        self,
        keyring: KeySource,
        *,
        accept_plaintext: bool = False,
        seal: bool = True,
        legacy: Sequence[LegacyReader] = (),
        message_limit: int | None = None,
    ) -> None:
        _check_source(keyring)
        if message_limit is not None:
            checked_count(message_limit, "message_limit")
        readers = checked_readers(legacy)
        for reader in readers:
            if not reader.authenticates and not accept_plaintext:
                raise ConfigurationError(
                    "the readers in `legacy` must authenticate what they read; got "
                    f"{reader!r}, which reads values that anyone can have written: give it to "
                    "the layer that it is for, such as Compression, or set accept_plaintext=True"
                )
        self.keyring = keyring
        self._accepts_plaintext = checked_flag(accept_plaintext, "accept_plaintext")
        self._seals = checked_flag(seal, "seal")
        if not seal and not accept_plaintext:
            raise ConfigurationError(
                "seal=False needs accept_plaintext=True, because the layer could not read what "
                "it wrote; got accept_plaintext=False"
            )
        self._legacy = readers
        self._limit = message_limit

    def on_bind(self) -> None:
        self._keys = self.keyring.bind(self.clock)
        self._prepares_encode = self._prepares_decode = self._keys.waits
        self._ciphers: Mapping[bytes, Cipher] = {}
        if not self._keys.waits:
            self._ciphers = self._keys.ciphers
            self._use(self._keys.primary)

    def _use(self, primary: Cipher) -> None:
        self._primary = primary
        self._primary_limit = (
            primary.limit if self._limit is None else min(self._limit, primary.limit)
        )

    async def setup(self) -> None:
        """Fetch the primary key, so that opening the store shows a failing key service."""
        await super().setup()
        self._use(await self._keys.fetch_primary())

    @property
    def idle(self) -> bool:
        return self._keys.idle

    # -- entries -----------------------------------------------------------------------

    async def prepare_encode(self, collection: Collection) -> None:
        self._use(await self._keys.fetch_primary())

    async def prepare_decode(self, collection: Collection, entries: Iterable[Entry | None]) -> None:
        steps = {entry.codec[:_STEP_LENGTH] for entry in entries if entry is not None}
        # Set last, with no await before `decode` runs: another task cannot change it between.
        self._ciphers = await self._keys.fetch_ciphers(steps)

    def encode(self, entry: Entry, collection: Collection, key: str) -> Entry:
        if not self._seals:
            return entry
        cipher = self._primary
        if cipher.count.messages >= self._primary_limit:
            raise self._limit_reached(cipher, collection, key)
        steps = cipher.step + entry.codec
        try:
            body = cipher.seal(entry.body, associated_data(collection, key, steps))
        except OverflowError:
            raise ValueTooLarge(
                "an encrypted value must not exceed 2 GiB; this one does, and nothing was "
                "written: store a smaller value",
                store=self.name,
                collection=collection,
                key=key,
            ) from None
        return Entry(body, steps, entry.created_at, entry.expires_at, entry.version)

    def decode(self, entry: Entry, collection: Collection, key: str) -> Entry:
        steps = entry.codec
        cipher = self._ciphers.get(steps[:_STEP_LENGTH])
        if cipher is None:
            return self._decode_foreign(entry, collection, key)
        body = cipher.open(entry.body, associated_data(collection, key, steps))
        if body is None:
            raise self._refusal(
                f"the entry does not open with key {cipher.name!r}: it was altered, or sealed "
                "under another name or with another key of this name",
                collection,
                key,
            )
        return Entry(body, steps[_STEP_LENGTH:], entry.created_at, entry.expires_at, entry.version)

    def _decode_foreign(self, entry: Entry, collection: Collection, key: str) -> Entry:
        """Decode an entry that no key of this layer sealed, if it may be read."""
        if entry.codec[:1] == _ENCRYPTED:
            known = ", ".join(
                f"{name!r} ({step[1:].hex()})" for step, name in self._keys.names.items()
            )
            raise self._refusal(
                f"the entry is sealed with key id {entry.codec[1:_STEP_LENGTH].hex()}, which the "
                f"keyring does not have; it has {known}: add the missing key to the keyring",
                collection,
                key,
            )
        for reader in self._legacy:
            decoded = reader.read(entry, collection, key)
            if decoded is not None:
                return decoded
        if self._accepts_plaintext:
            return entry
        raise self._refusal(
            "an entry must be encrypted, and this one is not encrypted: to read such entries "
            "during a migration, set accept_plaintext=True",
            collection,
            key,
        )

    def _refusal(self, message: str, collection: Collection, key: str) -> DecryptionError:
        return DecryptionError(message, store=self.name, collection=collection, key=key)

    def _limit_reached(
        self, cipher: Cipher, collection: Collection, key: str
    ) -> ConfigurationError:
        return ConfigurationError(
            f"key {cipher.name!r} has sealed {cipher.count.messages} messages in this process, "
            "which is its limit: add a key, promote it, and rewrite",
            store=self.name,
            collection=collection,
            key=key,
        )

    # -- state and operation -----------------------------------------------------------

    def is_current(self, stored: Entry, plain: Entry, collection: Collection, key: str) -> bool:
        if not self._seals:
            return stored.codec[:1] != _ENCRYPTED
        return stored.codec[:_STEP_LENGTH] == self._primary.step

    @property
    def messages(self) -> dict[str, int]:
        """Number of messages that this process has sealed, by the names of the loaded keys."""
        ciphers = {**self._keys.ciphers, **self._ciphers}
        return {cipher.name: cipher.count.messages for cipher in ciphers.values()}

    @property
    def primary(self) -> str:
        """The name of the key that entries are sealed with. Known once the store is open."""
        return self._primary.name

    @property
    def key_names(self) -> dict[str, str]:
        """The names of the known keys, by the ids (in hexadecimal) in entries."""
        return {step[1:].hex(): name for step, name in self._keys.names.items()}

    async def reload(self) -> None:
        """Fetch the keys again, if they come from a function or a key service.

        Raises:
            StoreUnavailable: The keys cannot be fetched. The cached keys stay in use.
        """
        await self._keys.reload()
        self._use(await self._keys.fetch_primary())

    # -- findings ----------------------------------------------------------------------

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterator[Finding]:
        if any("encrypts" in layer.traits for layer in below):
            yield Finding(
                "double-encryption",
                "Values that this layer encrypts are encrypted again by a layer inside it.",
                "Remove one. To change keys, promote another key of the keyring and rewrite.",
            )
        if not self._accepts_plaintext:
            return
        yield Finding(
            "migration-open",
            "Values that are not encrypted are read, so anyone who can write to the backend can "
            "forge them.",
            "Rewrite the remaining values (kvwrap.rewrite), then remove accept_plaintext=True.",
        )
        if any(
            layer.serializer is not None and layer.serializer.name == "pickle" for layer in above
        ):
            yield Finding(
                "plaintext-pickle",
                "Pickles that are not encrypted are read, so anyone who can write to the backend "
                "can run code here.",
                "Rewrite in a process that receives no data from others, or serialize as json.",
            )


def associated_data(collection: Collection, key: str, steps: bytes) -> bytes:
    """Return the associated data of a message: the names and codec steps it is bound to.

    A format byte, 1; the collection, as 0 for the default one, or 1, its length in four bytes
    and its UTF-8; the key likewise, length first; and the whole codec. Because each length
    comes first, no two combinations have the same bytes.
    """
    name = key.encode()
    if collection is None:
        return b"".join((_DEFAULT_COLLECTION, _pack_length(len(name)), name, steps))
    space = collection.encode()
    head = _pack_collection_head(1, 1, len(space))
    return b"".join((head, space, _pack_length(len(name)), name, steps))


def _check_source(keyring: object) -> None:
    if not isinstance(keyring, KeySource):
        raise ConfigurationError(
            f"`keyring` must be a keyring; got {type(keyring).__name__}: use "
            "Keyring({'2024': key}), Keyring.from_env('NAME') or Keyring.generate()"
        )
