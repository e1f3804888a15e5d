"""Envelope encryption: data keys that are stored wrapped, and unwrapped when they are used."""

from __future__ import annotations

import base64
import os
from collections.abc import Collection, Mapping
from typing import Any, Self

import msgspec

from kvwrap.core.clock import Clock
from kvwrap.core.concurrency import KeyedLocks
from kvwrap.core.ttl import checked_ttl
from kvwrap.core.validation import checked_count
from kvwrap.errors import ConfigurationError
from kvwrap.keyring import text
from kvwrap.keyring.calling import call
from kvwrap.keyring.cipher import Cipher, key_step
from kvwrap.keyring.kek import KEK
from kvwrap.keyring.key import Algorithm, Key, checked_algorithm, decode_base64
from kvwrap.keyring.rotation import NamedKeys, checked_mapping

_KEK_CALL = "the call to the key-encryption key"


class WrappedKey(msgspec.Struct, frozen=True):
    """A data key, wrapped by its key-encryption key. Not secret, but needed to read."""

    data: bytes
    algorithm: str = "aes-256-gcm"

    def __repr__(self) -> str:
        return f"WrappedKey(algorithm={self.algorithm!r})"


class EnvelopeKeyring(NamedKeys[WrappedKey]):
    """Data keys, wrapped by a key-encryption key that may never leave a key service.

    Entries are sealed with the data keys, as with a `Keyring`. Only these keys are wrapped,
    so a configuration can contain them. The service is called once per data key and not once
    per entry. Unwrapped data keys are cached for `max_age` seconds, at most `max_keys` of
    them. `rewrapped` changes the key-encryption key, and no entry has to be rewritten.

    Args:
        keys: Wrapped data keys by name: bytes, their base64, or a `WrappedKey`.
        kek: The key-encryption key: a `LocalKEK`, `KeyCalls` with two functions, or any
            object with `wrap` and `unwrap`.
        primary: The name of the data key to write with; the first one if omitted.
        max_age: Seconds for which an unwrapped data key is cached.
        max_keys: Number of unwrapped data keys that are cached.

    Reading or writing raises `StoreUnavailable` when the service is needed and fails, and
    `DecryptionError` when a data key cannot be unwrapped.
    """

    def __init__(
        self,
        keys: Mapping[str, WrappedKey | bytes | str],
        *,
        kek: KEK,
        primary: str | None = None,
        max_age: float = 3600.0,
        max_keys: int = 64,
    ) -> None:
        checked_mapping(
            keys, "wrapped key", "create the first with `await EnvelopeKeyring.generate(kek)`"
        )
        if not callable(getattr(kek, "unwrap", None)):
            raise ConfigurationError(
                f"`kek` must have the methods wrap and unwrap; got {type(kek).__name__}: use a "
                "LocalKEK, or KeyCalls(unwrap=..., wrap=...)"
            )
        checked_count(max_keys, "max_keys")
        super().__init__({name: _to_wrapped_key(key) for name, key in keys.items()}, primary)
        self._kek = kek
        self._max_age = checked_ttl(max_age, "max_age")
        self._max_keys = max_keys

    # -- sources -----------------------------------------------------------------------

    @classmethod
    async def generate(
        cls,
        kek: KEK,
        name: str = "data-1",
        *,
        algorithm: Algorithm = "aes-256-gcm",
        max_age: float = 3600.0,
        max_keys: int = 64,
    ) -> Self:
        """Create a keyring of one new data key, wrapped. Store its `to_text()`."""
        first = {name: await _generate_wrapped(kek, algorithm)}
        return cls(first, kek=kek, max_age=max_age, max_keys=max_keys)

    @classmethod
    def from_text(
        cls, wrapped: str, *, kek: KEK, max_age: float = 3600.0, max_keys: int = 64
    ) -> Self:
        """Parse the text that `to_text` returned, or the JSON form of `Keyring.from_text`."""
        return cls._from_parsed(text.parse(wrapped, "the keyring's text"), kek, max_age, max_keys)

    @classmethod
    def from_env(cls, name: str, *, kek: KEK, max_age: float = 3600.0, max_keys: int = 64) -> Self:
        """Read the text from an environment variable, in one of the forms of `from_text`."""
        return cls._from_parsed(text.from_env(name), kek, max_age, max_keys)

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], *, kek: KEK, max_age: float = 3600.0, max_keys: int = 64
    ) -> Self:
        """Read the text from a file, in one of the forms of `from_text`."""
        return cls._from_parsed(text.from_file(path, secret=False), kek, max_age, max_keys)

    @classmethod
    def _from_parsed(
        cls, parsed: text.ParsedKeyring, kek: KEK, max_age: float, max_keys: int
    ) -> Self:
        return cls(
            {key.name: WrappedKey(key.data, key.algorithm) for key in parsed.keys},
            kek=kek,
            primary=parsed.primary,
            max_age=max_age,
            max_keys=max_keys,
        )

    def to_text(self) -> str:
        """Return the keyring in the compact form. Its keys are wrapped, so it is not secret."""
        return text.format_keys(
            (name, key.algorithm, base64.urlsafe_b64encode(key.data).decode())
            for name, key in self._primary_first()
        )

    # -- rotation ----------------------------------------------------------------------

    async def with_key(self, name: str, *, algorithm: Algorithm = "aes-256-gcm") -> Self:
        """Return a keyring that can also read with a new data key, wrapped now.

        Raises:
            ConfigurationError: The keyring already has a key of this name.
        """
        self._check_new(name)
        added = await _generate_wrapped(self._kek, algorithm)
        return self._replace({**self._keys, name: added}, self.primary)

    async def rewrapped(self, kek: KEK) -> Self:
        """Return a keyring of the same data keys, wrapped by another key-encryption key.

        Stored entries do not change.
        """
        keys = {}
        for name, key in self._keys.items():
            material = await call(self._kek.unwrap, key.data, role=_KEK_CALL)
            data = await call(kek.wrap, material, role=_KEK_CALL)
            keys[name] = WrappedKey(data, key.algorithm)
        return self._replace(keys, self.primary, kek)

    def _replace(
        self, keys: Mapping[str, WrappedKey], primary: str, kek: KEK | None = None
    ) -> Self:
        return type(self)(
            keys,
            kek=kek or self._kek,
            primary=primary,
            max_age=self._max_age,
            max_keys=self._max_keys,
        )

    # -- use by a layer ----------------------------------------------------------------

    def bind(self, clock: Clock) -> EnvelopeKeys:
        return EnvelopeKeys(self, self._max_age, self._max_keys, clock)

    async def unwrap(self, name: str) -> Cipher:
        """Unwrap the data key of this name, without the cache. Returns its cipher."""
        key = self._keys[name]
        material = await call(self._kek.unwrap, key.data, role=_KEK_CALL)
        try:
            unwrapped = Key(material, algorithm=key.algorithm)
        except ConfigurationError as error:
            raise ConfigurationError(f"key {name!r}, unwrapped: {error.message}") from None
        return Cipher(name, unwrapped)

    def __repr__(self) -> str:
        return f"EnvelopeKeyring(primary={self.primary!r}, keys={list(self._keys)!r})"


class EnvelopeKeys:
    """Unwrapped data keys, cached within bounds of number and age."""

    waits = True
    primary: Cipher

    def __init__(
        self, keyring: EnvelopeKeyring, max_age: float, max_keys: int, clock: Clock
    ) -> None:
        from cachetools import TTLCache

        self.ciphers: Mapping[bytes, Cipher] = {}
        self.names: Mapping[bytes, str] = {key_step(name): name for name in keyring.names}
        self._keyring = keyring
        self._cache: Any = TTLCache(max_keys, max_age, timer=clock.monotonic)
        self._locks = KeyedLocks()

    @property
    def idle(self) -> bool:
        return not self._locks

    async def fetch_primary(self) -> Cipher:
        return await self._fetch(self._keyring.primary)

    async def fetch_ciphers(self, steps: Collection[bytes]) -> Mapping[bytes, Cipher]:
        names = self.names
        return {step: await self._fetch(names[step]) for step in steps if step in names}

    async def _fetch(self, name: str) -> Cipher:
        cipher: Cipher | None = self._cache.get(name)
        if cipher is None:
            async with self._locks.hold(name, shares_errors=True):
                cipher = self._cache.get(name)
                if cipher is None:
                    cipher = self._cache[name] = await self._keyring.unwrap(name)
        return cipher

    async def reload(self) -> None:
        """Clear the cache, so that the next use calls the service again."""
        self._cache.clear()


async def _generate_wrapped(kek: KEK, algorithm: Algorithm) -> WrappedKey:
    key = Key.generate(algorithm)
    return WrappedKey(await call(kek.wrap, key.reveal(), role=_KEK_CALL), key.algorithm)


def _to_wrapped_key(key: WrappedKey | bytes | str) -> WrappedKey:
    if not isinstance(key, WrappedKey):
        key = WrappedKey(decode_base64(key) if isinstance(key, str) else key)
    if not isinstance(key.data, bytes | bytearray | memoryview):
        raise ConfigurationError(
            "a wrapped key must be bytes, their base64 or a WrappedKey of bytes; got "
            f"{type(key.data).__name__}: give what `wrap` returned"
        )
    return WrappedKey(bytes(key.data), checked_algorithm(key.algorithm))
