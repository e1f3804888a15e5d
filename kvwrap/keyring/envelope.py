"""Envelope keys: data keys that lie wrapped, and are opened when they are wanted."""

from __future__ import annotations

import base64
import os
from collections.abc import Collection, Mapping
from typing import Any, Self

import msgspec

from kvwrap.core import codec
from kvwrap.core.clock import Clock
from kvwrap.core.concurrency import KeyedLocks
from kvwrap.core.ttl import checked_ttl
from kvwrap.core.validation import checked_count
from kvwrap.errors import ConfigurationError
from kvwrap.keyring import text
from kvwrap.keyring.calling import called
from kvwrap.keyring.cipher import Cipher, Count
from kvwrap.keyring.kek import KEK
from kvwrap.keyring.key import Algorithm, Key, checked_algorithm, decoded
from kvwrap.keyring.source import KeySource, checked_keys, names_by_step


class WrappedKey(msgspec.Struct, frozen=True):
    """A data key as its key-encryption key wrapped it. Not secret, but needed to read."""

    data: bytes
    algorithm: str = "aes-256-gcm"

    def __repr__(self) -> str:
        return f"WrappedKey(algorithm={self.algorithm!r})"


class EnvelopeKeyring(KeySource):
    """Data keys that were wrapped by a key-encryption key, which may never leave a key service.

    Entries are sealed with the data keys, as under a `Keyring`; only these keys are wrapped,
    so they can lie in a configuration, and the service is asked once for each and not once
    an entry. Opened data keys are kept for `max_age` seconds, at most `max_keys` of them.
    With `rewrapped` the key-encryption key changes, and no entry has to be rewritten.

    Args:
        keys: Wrapped data keys by name: bytes, their base64, or a `WrappedKey`.
        kek: What opens them: a `LocalKEK`, `KeyCalls` with two functions, or any object
            with `wrap` and `unwrap`.
        primary: The name of the data key to write with; the first one if left out.
        max_age: Seconds for which an opened data key is kept.
        max_keys: How many opened data keys are kept.

    Reading or writing raises `StoreUnavailable` when the service is wanted and fails, and
    `DecryptionError` when a wrapped key does not open.
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
        checked_keys(
            keys,
            "an envelope keyring has at least one wrapped key: make the first with "
            "await EnvelopeKeyring.generate(kek)",
        )
        if not callable(getattr(kek, "unwrap", None)):
            raise ConfigurationError("kek has the methods wrap and unwrap, as LocalKEK has")
        checked_count(max_keys, "max_keys")
        self._keys = {name: _wrapped(key) for name, key in keys.items()}
        if len(names_by_step(self.names)) < len(self._keys):
            raise ConfigurationError(
                "two of the keys' names come to the same key id: name one of them otherwise"
            )
        self.primary = next(iter(self._keys)) if primary is None else primary
        self._known(self.primary)
        self._kek = kek
        self._max_age = checked_ttl(max_age)
        self._max_keys = max_keys
        self._counts: dict[str, Count] = {}

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
        """A keyring of one new data key, wrapped: keep its `to_text()`."""
        first = {name: await _made(kek, algorithm)}
        return cls(first, kek=kek, max_age=max_age, max_keys=max_keys)

    @classmethod
    def from_text(
        cls, wrapped: str, *, kek: KEK, max_age: float = 3600.0, max_keys: int = 64
    ) -> Self:
        """The keyring that `to_text` wrote, or the JSON form of `Keyring.from_text`."""
        return cls._of(text.parsed(wrapped, "the keyring's text"), kek, max_age, max_keys)

    @classmethod
    def from_env(cls, name: str, *, kek: KEK, max_age: float = 3600.0, max_keys: int = 64) -> Self:
        """As `from_text`, of an environment variable."""
        return cls._of(text.from_env(name), kek, max_age, max_keys)

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], *, kek: KEK, max_age: float = 3600.0, max_keys: int = 64
    ) -> Self:
        """As `from_text`, of a file."""
        return cls._of(text.from_file(path, secret=False), kek, max_age, max_keys)

    @classmethod
    def _of(cls, found: text.Text, kek: KEK, max_age: float, max_keys: int) -> Self:
        return cls(
            {key.name: WrappedKey(key.data, key.algorithm) for key in found.keys},
            kek=kek,
            primary=found.primary,
            max_age=max_age,
            max_keys=max_keys,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the data keys."""
        return tuple(self._keys)

    @property
    def ids(self) -> dict[str, str]:
        """The id by which entries name each key, in hexadecimal, by the key's name."""
        return {name: codec.fingerprint(name).hex() for name in self._keys}

    def to_text(self) -> str:
        """The keyring in the compact form, its keys wrapped: it need not be kept secret."""
        names = sorted(self._keys, key=lambda name: name != self.primary)
        return text.written(
            (
                name,
                self._keys[name].algorithm,
                base64.urlsafe_b64encode(self._keys[name].data).decode(),
            )
            for name in names
        )

    # -- rotation ----------------------------------------------------------------------

    async def with_key(self, name: str, *, algorithm: Algorithm = "aes-256-gcm") -> Self:
        """A keyring that can also read with a new data key, wrapped now."""
        if name in self._keys:
            raise ConfigurationError(f"there is a key {name!r} already: name the new one otherwise")
        return self._changed({**self._keys, name: await _made(self._kek, algorithm)}, self.primary)

    def promoted(self, name: str) -> Self:
        """A keyring that writes with this one of its data keys."""
        self._known(name)
        return self._changed(self._keys, name)

    def retired(self, name: str) -> Self:
        """A keyring without this data key: entries sealed with it can no longer be read."""
        self._known(name)
        if name == self.primary:
            raise ConfigurationError(
                f"{name!r} is the primary key: promote another before it is retired"
            )
        left = {other: key for other, key in self._keys.items() if other != name}
        return self._changed(left, self.primary)

    async def rewrapped(self, kek: KEK) -> Self:
        """The same data keys under another key-encryption key; entries stay as they are."""
        keys = {}
        for name, key in self._keys.items():
            material = await called(self._kek.unwrap, key.data, what=_SERVICE)
            data = await called(kek.wrap, material, what=_SERVICE)
            keys[name] = WrappedKey(data, key.algorithm)
        return self._changed(keys, self.primary, kek)

    def _changed(
        self, keys: Mapping[str, WrappedKey], primary: str, kek: KEK | None = None
    ) -> Self:
        changed = type(self)(
            keys,
            kek=kek or self._kek,
            primary=primary,
            max_age=self._max_age,
            max_keys=self._max_keys,
        )
        changed._counts = self._counts
        return changed

    def _known(self, name: str) -> WrappedKey:
        if name not in self._keys:
            raise ConfigurationError(
                f"there is no key {name!r} in the keyring, which has "
                f"{', '.join(map(repr, self._keys))}"
            )
        return self._keys[name]

    # -- at work -----------------------------------------------------------------------

    def bind(self, clock: Clock) -> EnvelopeKeys:
        return EnvelopeKeys(self, self._max_age, self._max_keys, clock)

    async def opened(self, name: str) -> Cipher:
        """The data key of this name, unwrapped now."""
        key = self._keys[name]
        material = await called(self._kek.unwrap, key.data, what=_SERVICE)
        try:
            opened = Key(material, algorithm=key.algorithm)
        except ConfigurationError as error:
            raise ConfigurationError(f"key {name!r}, unwrapped: {error.message}") from None
        return Cipher(name, opened, self._counts.setdefault(name, Count()))

    def __repr__(self) -> str:
        return f"EnvelopeKeyring(primary={self.primary!r}, keys={list(self._keys)!r})"


class EnvelopeKeys:
    """Data keys at work: those opened of late, within bounds of number and age."""

    waits = True
    sealing: Cipher

    def __init__(
        self, keyring: EnvelopeKeyring, max_age: float, max_keys: int, clock: Clock
    ) -> None:
        from cachetools import TTLCache

        self.opening: Mapping[bytes, Cipher] = {}
        self._keyring = keyring
        self._names = names_by_step(keyring.names)
        self._opened: Any = TTLCache(max_keys, max_age, timer=clock.monotonic)
        self._locks = KeyedLocks()

    def named(self) -> Mapping[bytes, str]:
        return self._names

    async def for_sealing(self) -> Cipher:
        return await self._cipher(self._keyring.primary)

    async def for_opening(self, steps: Collection[bytes]) -> Mapping[bytes, Cipher]:
        names = self._names
        return {step: await self._cipher(names[step]) for step in steps if step in names}

    async def _cipher(self, name: str) -> Cipher:
        cipher: Cipher | None = self._opened.get(name)
        if cipher is None:
            async with self._locks.hold(name):
                cipher = self._opened.get(name)
                if cipher is None:
                    cipher = self._opened[name] = await self._keyring.opened(name)
        return cipher

    async def reload(self) -> None:
        """Forget what is opened, so that the service is asked anew."""
        self._opened.clear()


_SERVICE = "the key-encryption key's call"


async def _made(kek: KEK, algorithm: Algorithm) -> WrappedKey:
    made = Key.generate(algorithm)
    return WrappedKey(await called(kek.wrap, made.reveal(), what=_SERVICE), made.algorithm)


def _wrapped(key: WrappedKey | bytes | str) -> WrappedKey:
    if isinstance(key, str):
        key = decoded(key)
    if not isinstance(key, WrappedKey):
        key = WrappedKey(bytes(key))
    checked_algorithm(key.algorithm)
    return key
