"""Values that only holders of a key can read or write."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kvwrap.errors import ConfigurationError, DecryptionError, ValueTooLarge
from kvwrap.keyring.cipher import Cipher
from kvwrap.keyring.source import KeySource, OpenKeys
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

_SEALED = bytes((codec.ENCRYPTED,))
_STEP = 5

_DEFAULT_COLLECTION = b"\x01\x00"
_NAMED_COLLECTION = struct.Struct(">BBI").pack
_KEY = struct.Struct(">I").pack


class Encryption(Transform):
    """Encrypts values, and binds each to its collection, its key and the steps in its header.

    What was altered, cut, sealed with another key, or copied from under another name raises
    `DecryptionError`. The body at rest is a nonce of 12 bytes, the ciphertext and a tag of 16
    bytes; the header names the key by 5 bytes. Collections, keys, expiry and the length of
    values are not hidden; see `HashedKey` for keys.

    Args:
        keyring: A `Keyring`; or one that is fetched (`Keyring.from_callable`) or whose keys lie
            wrapped (`EnvelopeKeyring`).
        accept_plaintext: Whether values that are not encrypted are read, as they are while
            old data is brought over. Whoever can write to the backend can then forge values.
        seal: False writes plaintext and only opens what is sealed: for the time in which a
            deployment has not reached every process, or to take encryption away again. Needs
            `accept_plaintext`.
        legacy: Readers of what other libraries encrypted, asked in this order; see
            `kvwrap.integrations`.
        message_limit: After how many writes with one key in this process it is refused, where
            that is fewer than its algorithm allows (2^32 for AES-256-GCM and
            ChaCha20-Poly1305, 2^48 for AES-256-GCM-SIV).

    Reads raise `DecryptionError`. Writes raise `ConfigurationError` when the primary key is
    used up, and `ValueTooLarge` over 2 GiB; nothing is written then.
    """

    traits = frozenset({"encrypts"})
    _keys: OpenKeys

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
                    f"{reader!r} reads what anybody can have written: give it to the layer that "
                    "it belongs to (Compression, say), or say accept_plaintext=True"
                )
        self.keyring = keyring
        self._accepts_plaintext = checked_flag(accept_plaintext, "accept_plaintext")
        self._seals = checked_flag(seal, "seal")
        if not seal and not accept_plaintext:
            raise ConfigurationError(
                "a layer that does not seal could not read what it wrote: say "
                "accept_plaintext=True too"
            )
        self._legacy = readers
        self._limit = message_limit

    def on_bind(self) -> None:
        self._keys = self.keyring.bind(self.clock)
        self._waits_to_encode = self._waits_to_decode = self._keys.waits
        self._ciphers: Mapping[bytes, Cipher] = {}
        if not self._keys.waits:
            self._ciphers = self._keys.opening
            self._use(self._keys.sealing)

    def _use(self, cipher: Cipher) -> None:
        self._sealing = cipher
        self._most = cipher.limit if self._limit is None else min(self._limit, cipher.limit)

    async def setup(self) -> None:
        """Have the primary key at hand, so that a key service's failure shows on opening."""
        await super().setup()
        self._use(await self._keys.for_sealing())

    # -- entries -----------------------------------------------------------------------

    async def prepare_encode(self, collection: Collection) -> None:
        self._use(await self._keys.for_sealing())

    async def prepare_decode(self, collection: Collection, entries: Iterable[Entry | None]) -> None:
        steps = {entry.codec[:_STEP] for entry in entries if entry is not None}
        # Set last, with no await before `decode` runs: another task cannot change it between.
        self._ciphers = await self._keys.for_opening(steps)

    def encode(self, entry: Entry, collection: Collection, key: str) -> Entry:
        if not self._seals:
            return entry
        cipher = self._sealing
        if cipher.count.messages >= self._most:
            raise self._used_up(cipher, collection, key)
        steps = cipher.step + entry.codec
        try:
            body = cipher.seal(entry.body, _bound(collection, key, steps))
        except OverflowError:
            raise ValueTooLarge(
                "a message of encryption holds at most 2 GiB: nothing was written",
                store=self.name,
                collection=collection,
                key=key,
            ) from None
        return Entry(body, steps, entry.created_at, entry.expires_at, entry.version)

    def decode(self, entry: Entry, collection: Collection, key: str) -> Entry:
        steps = entry.codec
        cipher = self._ciphers.get(steps[:_STEP])
        if cipher is None:
            return self._decode_foreign(entry, collection, key)
        body = cipher.open(entry.body, _bound(collection, key, steps))
        if body is None:
            raise self._refusal(
                f"the entry does not open with key {cipher.name!r}: it was altered, or sealed "
                "under another name or with another key of this name",
                collection,
                key,
            )
        return Entry(body, steps[_STEP:], entry.created_at, entry.expires_at, entry.version)

    def _decode_foreign(self, entry: Entry, collection: Collection, key: str) -> Entry:
        """The entry, if what is not encrypted, or not by this layer, may be read."""
        if entry.codec[:1] == _SEALED:
            known = ", ".join(
                f"{name!r} ({step[1:].hex()})" for step, name in self._keys.named().items()
            )
            raise self._refusal(
                f"the entry is sealed with the key of id {entry.codec[1:_STEP].hex()}, which the "
                f"keyring does not have: it has {known}",
                collection,
                key,
            )
        for reader in self._legacy:
            read = reader.read(entry, collection, key)
            if read is not None:
                return read
        if self._accepts_plaintext:
            return entry
        raise self._refusal(
            "the entry is not encrypted, and is refused (accept_plaintext=True reads such "
            "entries while they are being brought over)",
            collection,
            key,
        )

    def _refusal(self, what: str, collection: Collection, key: str) -> DecryptionError:
        return DecryptionError(what, store=self.name, collection=collection, key=key)

    def _used_up(self, cipher: Cipher, collection: Collection, key: str) -> ConfigurationError:
        return ConfigurationError(
            f"key {cipher.name!r} has sealed {cipher.count.messages} messages in this process, "
            "which is its limit: add a key, promote it, and rewrite",
            store=self.name,
            collection=collection,
            key=key,
        )

    # -- what operators ask ------------------------------------------------------------

    def is_current(self, stored: Entry, plain: Entry, collection: Collection, key: str) -> bool:
        if not self._seals:
            return stored.codec[:1] != _SEALED
        return stored.codec[:_STEP] == self._sealing.step

    @property
    def messages(self) -> dict[str, int]:
        """How many messages this process has sealed, by the names of the keys at hand."""
        ciphers = {**self._keys.opening, **self._ciphers}
        return {cipher.name: cipher.count.messages for cipher in ciphers.values()}

    @property
    def primary(self) -> str:
        """The name of the key that is written with; known once the store is open."""
        return self._sealing.name

    @property
    def key_names(self) -> dict[str, str]:
        """The names of the keys known of, by the ids (in hexadecimal) that entries bear."""
        return {step[1:].hex(): name for step, name in self._keys.named().items()}

    async def reload(self) -> None:
        """Fetch the keys anew, where they come from a function or a key service.

        Raises:
            StoreUnavailable: They cannot be had at present; those at hand stay in use.
        """
        await self._keys.reload()
        self._use(await self._keys.for_sealing())

    # -- findings ----------------------------------------------------------------------

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterator[Finding]:
        if any("encrypts" in layer.traits for layer in below):
            yield Finding(
                "double-encryption",
                "What this layer encrypts is encrypted again by a layer inside it.",
                "Leave one; to change keys, promote another key of the keyring and rewrite.",
            )
        if not self._accepts_plaintext:
            return
        yield Finding(
            "migration-open",
            "Values that are not encrypted are read, so whoever can write to the backend can "
            "forge them.",
            "Rewrite what is left (kvwrap.rewrite), then take accept_plaintext=True away.",
        )
        if any(
            layer.serializer is not None and layer.serializer.name == "pickle" for layer in above
        ):
            yield Finding(
                "plaintext-pickle",
                "Pickles that are not encrypted are read, so whoever can write to the backend "
                "can run code here.",
                "Rewrite by a program that nobody else's data reaches, or serialize as json.",
            )


def _bound(collection: Collection, key: str, steps: bytes) -> bytes:
    """The associated data: which names and steps the message is for.

    A format byte, 1; the collection, as 0 for the default one, or 1, its length in four bytes
    and its UTF-8; the key likewise, length first; and the whole codec. Lengths first, so
    that no two places come to the same bytes.
    """
    name = key.encode()
    if collection is None:
        return b"".join((_DEFAULT_COLLECTION, _KEY(len(name)), name, steps))
    space = collection.encode()
    return b"".join((_NAMED_COLLECTION(1, 1, len(space)), space, _KEY(len(name)), name, steps))


def _check_source(keyring: object) -> None:
    if not isinstance(keyring, KeySource):
        raise ConfigurationError(
            f"a keyring is wanted, not {type(keyring).__name__}: Keyring({{'2024': key}}), "
            "Keyring.from_env('NAME') or Keyring.generate()"
        )
