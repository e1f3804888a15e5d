"""Authenticated encryption of values, bound to context, collection, key and expiry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Self

from kvwrap.errors import ConfigurationError, DecryptionError, ValueTooLarge
from kvwrap.keyring.cipher import Cipher
from kvwrap.keyring.source import BoundKeys, KeySource
from kvwrap.layers.base import (
    Collection,
    Entry,
    Finding,
    Layer,
    LegacyReader,
    Passage,
    Primitives,
    Store,
    Transform,
    checked_count,
    checked_flag,
    checked_readers,
    codec,
    counter,
    gauge,
    new_version,
    touch_by_writing,
)
from kvwrap.layers.encryption.findings import FINDING_CODES, find
from kvwrap.layers.encryption.sealing import (
    STEP_LENGTH,
    OutlivedEntries,
    associated_data,
    context_head,
    has_sealed_expiry,
    is_over,
    is_sealed,
    split,
    with_sealed_expiry,
)

_LARGE = 2**20
"""Bytes from which a value is encrypted and decrypted in a thread.

AES-GCM takes 0.2 ms for as many. A call in a thread takes 0.15 ms longer.
"""


class Encryption(Transform):
    """Encrypts values, and binds each to its names, its times and the steps in its header.

    Reading raises `DecryptionError` for an entry that was altered, truncated, sealed with
    another key or for another context, or copied from another name. An entry never lives longer
    than its writer said, whatever its header says. The body at rest is a commitment to the key of
    16 bytes, a nonce of 12, the ciphertext and a tag of 16. The header names the key by 5 bytes,
    and repeats the expiry, sealed, in 9. Collections, keys, times and the length of values are
    not hidden; see `HashedKey` for keys.

    Args:
        keyring: A `Keyring`, one that is fetched (`Keyring.from_callable`), or one of wrapped
            keys (`EnvelopeKeyring`).
        context: Bytes that name what the entries belong to, such as a table, a namespace or a
            tenant. Entries open only with the context that they were sealed with. It is not
            secret.
        accept_contexts: Contexts of older entries, which are still opened; tried in this order
            after `context`. `kvwrap.rewrite` brings the entries over.
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
    reached its limit, and `ValueTooLarge` over 2 GiB; nothing is written then. `expire` seals
    the entry again, so it reads and writes, conditionally where the store compares versions.
    """

    passage = Passage(
        read="decrypts the value, and refuses altered bytes",
        write="encrypts the value with the primary key",
        value="encrypted",
    )
    traits = frozenset({"encrypts"})
    finding_codes = FINDING_CODES
    figures = (
        *Transform.figures,
        counter(
            "encryption.messages",
            "{message}",
            "Messages that the process sealed.",
            "key_name",
            merge="max",
        ),
        gauge(
            "encryption.message_limit", "{message}", "Its limit for the primary key.", merge="max"
        ),
    )
    _keys: BoundKeys

    def __init__(
        self,
        keyring: KeySource,
        *,
        context: bytes = b"",
        accept_contexts: Sequence[bytes] = (),
        accept_plaintext: bool = False,
        seal: bool = True,
        legacy: Sequence[LegacyReader] = (),
        message_limit: int | None = None,
    ) -> None:
        _check_source(keyring)
        if message_limit is not None:
            checked_count(message_limit, "message_limit")
        self.context = _checked_context(context, "context")
        self.accept_contexts = _checked_contexts(accept_contexts)
        self.accept_plaintext = checked_flag(accept_plaintext, "accept_plaintext")
        self.legacy = checked_readers(legacy)
        for reader in self.legacy:
            if not reader.authenticates and not accept_plaintext:
                raise ConfigurationError(
                    "the readers in `legacy` must authenticate what they read; got "
                    f"{reader!r}, which reads values that anyone can have written: give it to "
                    "the layer that it is for, such as Compression, or set accept_plaintext=True"
                )
        self.keyring = keyring
        self._seals = checked_flag(seal, "seal")
        if not seal and not accept_plaintext:
            raise ConfigurationError(
                "seal=False needs accept_plaintext=True, because the layer could not read what "
                "it wrote; got accept_plaintext=False"
            )
        self._limit = message_limit
        self._head = context_head(self.context)
        self._older_heads = [context_head(older) for older in self.accept_contexts]

    def bind(self, inner: Primitives) -> Self:
        return super().bind(OutlivedEntries().bind(inner))

    def on_bind(self) -> None:
        self._keys = self.keyring.bind(self.clock)
        self._prepares_encode = self._prepares_decode = self._keys.waits
        self._ciphers: Mapping[bytes, Cipher] = {}
        self._primary_limit = 0  # until the primary key is known
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
        codecs = [codec.skip_annotations(entry.codec) for entry in entries if entry is not None]
        steps = {steps[:STEP_LENGTH] for steps in codecs}
        # Set last, with no await before `decode` runs: another task cannot change it between.
        self._ciphers = await self._keys.fetch_ciphers(steps)

    def encode(self, entry: Entry, collection: Collection, key: str) -> Entry:
        encoded = self.begin_encode(entry, collection, key)
        return encoded() if callable(encoded) else encoded

    def begin_encode(
        self, entry: Entry, collection: Collection, key: str
    ) -> Entry | Callable[[], Entry]:
        if not self._seals:
            return entry
        cipher = self._primary
        if cipher.count.messages >= self._primary_limit:
            raise self._limit_reached(cipher, collection, key)
        cipher.count_message()
        if len(entry.body) >= _LARGE:
            return partial(self._sealed, cipher, entry, collection, key)
        return self._sealed(cipher, entry, collection, key)

    def _sealed(self, cipher: Cipher, entry: Entry, collection: Collection, key: str) -> Entry:
        steps = cipher.step + with_sealed_expiry(entry.codec, entry.expires_at)
        bound = associated_data(self._head, collection, key, entry.created_at, steps)
        try:
            body = cipher.seal_counted(entry.body, bound)
        except OverflowError:
            raise ValueTooLarge(
                "an encrypted value must not exceed 2 GiB; this one does, and nothing was "
                "written: store a smaller value",
                store=self.name,
                collection=collection,
                key=key,
            ) from None
        return Entry(body, steps, entry.created_at, entry.expires_at, entry.version)

    def decode(self, entry: Entry, collection: Collection, key: str) -> Entry | None:
        decoded = self.begin_decode(entry, collection, key)
        return decoded() if callable(decoded) else decoded

    def begin_decode(
        self, entry: Entry, collection: Collection, key: str
    ) -> Entry | Callable[[], Entry | None] | None:
        cipher = self._ciphers.get(entry.codec[:STEP_LENGTH])
        if cipher is None:
            return self._decode_foreign(entry, collection, key)
        if len(entry.body) >= _LARGE:
            return partial(self._opened, cipher, entry, collection, key)
        return self._opened(cipher, entry, collection, key)

    def _opened(
        self, cipher: Cipher, entry: Entry, collection: Collection, key: str
    ) -> Entry | None:
        steps = entry.codec
        bound = associated_data(self._head, collection, key, entry.created_at, steps)
        body = cipher.open(entry.body, bound)
        if body is None:
            body = self._open_older(cipher, entry, collection, key)
        steps, expires_at = split(entry)
        if expires_at is not entry.expires_at and is_over(expires_at, entry, self.clock.time()):
            return None
        return Entry(body, steps, entry.created_at, expires_at, entry.version)

    def _open_older(self, cipher: Cipher, entry: Entry, collection: Collection, key: str) -> bytes:
        """Open an entry that does not open with the own context, with an accepted one."""
        for head in self._older_heads:
            bound = associated_data(head, collection, key, entry.created_at, entry.codec)
            body = cipher.open(entry.body, bound)
            if body is not None:
                return body
        if not cipher.committed(entry.body):
            problem = "it was sealed with another key of this name, or altered"
        else:
            problem = "it was altered, or sealed under another name or for another context"
        raise self._refusal(
            f"the entry does not open with key {cipher.name!r}: {problem}", collection, key
        )

    def _decode_foreign(self, entry: Entry, collection: Collection, key: str) -> Entry | None:
        """Decode an entry that no key of this layer sealed, if it may be read."""
        front, steps = codec.split_annotations(entry.codec)
        if front and steps[:STEP_LENGTH] in self._ciphers:
            # Of another layer that is not in this stack, such as a replica's date.
            opened = self.decode(entry.with_body(entry.body, steps), collection, key)
            return opened and opened.with_body(opened.body, front + opened.codec)
        if is_sealed(entry):
            known = ", ".join(
                f"{name!r} ({step[1:].hex()})" for step, name in self._keys.names.items()
            )
            raise self._refusal(
                f"the entry is sealed with key id {steps[1:STEP_LENGTH].hex()}, which the "
                f"keyring does not have; it has {known}: add the missing key to the keyring",
                collection,
                key,
            )
        for reader in self.legacy:
            decoded = reader.read(entry, collection, key)
            if decoded is not None:
                return decoded
        if not self.accept_plaintext:
            raise self._refusal(
                "an entry must be encrypted, and this one is not encrypted: to read such entries "
                "during a migration, set accept_plaintext=True",
                collection,
                key,
            )
        if has_sealed_expiry(entry.codec) or any(
            cipher.committed(entry.body) for cipher in self._known_ciphers()
        ):
            raise self._refusal(
                "the entry is encrypted, and its header says that it is not: the header was "
                "altered. Delete the entry, or restore it from a backup",
                collection,
                key,
            )
        return entry

    def _known_ciphers(self) -> Iterable[Cipher]:
        """Return the ciphers of the loaded keys."""
        loaded = {**self._keys.ciphers, **self._ciphers}
        if not self._keys.waits:
            return loaded.values()
        return {**loaded, self._primary.step: self._primary}.values()

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

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        """Set new expiry times, by sealing the entries again.

        If the store cannot compare versions, a write between reading and writing is lost.
        """
        return await touch_by_writing(self, collection, keys, expires, _renewed, owner=self.name)

    # -- state and operation -----------------------------------------------------------

    def is_current(self, stored: Entry, plain: Entry, collection: Collection, key: str) -> bool:
        if not self._seals:
            return not is_sealed(stored)
        steps = codec.skip_annotations(stored.codec)
        if steps[:STEP_LENGTH] != self._primary.step:
            return False
        if not self._older_heads:
            return True
        bound = associated_data(self._head, collection, key, stored.created_at, steps)
        return self._primary.open(stored.body, bound) is not None

    @property
    def messages(self) -> dict[str, int]:
        """Number of messages that this process has sealed, by the names of the loaded keys."""
        known = self._known_ciphers() if self._primary_limit else ()
        return {cipher.name: cipher.count.messages for cipher in known}

    @property
    def message_limit(self) -> int | None:
        """Number of messages that may be sealed with the primary key; `None` if none seals."""
        return self._primary_limit if self._seals and self._primary_limit else None

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
    ) -> Iterable[Finding]:
        return find(self, above, below, base)


def _renewed(entry: Entry, expires_at: float | None) -> Entry:
    return entry.with_expiry(expires_at, new_version())


def _checked_context(context: object, name: str) -> bytes:
    """Return the context. Raises `ConfigurationError`, which does not show it, if not bytes."""
    if isinstance(context, bytes):
        return context
    hint = ": write it as bytes, such as context=b'sessions'" if isinstance(context, str) else ""
    raise ConfigurationError(f"`{name}` must be bytes; got {type(context).__name__}{hint}")


def _checked_contexts(contexts: object) -> tuple[bytes, ...]:
    if not isinstance(contexts, list | tuple):
        raise ConfigurationError(
            f"`accept_contexts` must be a list of bytes; got {type(contexts).__name__}: write "
            "[b'...'], also for one context"
        )
    return tuple(_checked_context(context, "accept_contexts") for context in contexts)


def _check_source(keyring: object) -> None:
    if not isinstance(keyring, KeySource):
        raise ConfigurationError(
            f"`keyring` must be a keyring; got {type(keyring).__name__}: use "
            "Keyring({'2024': key}), Keyring.from_env('NAME') or Keyring.generate()"
        )
