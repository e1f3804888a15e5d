"""A keyring: keys by name, one of them primary."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

from kvwrap.core import codec
from kvwrap.core.clock import Clock
from kvwrap.errors import ConfigurationError
from kvwrap.keyring import text
from kvwrap.keyring.cipher import Cipher
from kvwrap.keyring.key import Algorithm, Key
from kvwrap.keyring.live import LiveKeyring
from kvwrap.keyring.source import KeySource, checked_keys
from kvwrap.keyring.static import PlainKeys


class Keyring(KeySource):
    """Keys by name, an immutable value. New entries are sealed with the primary key.

    An entry names its key by four bytes, made of the key's name; the keyring says which key
    and which algorithm that is, so no bytes of the backend choose an algorithm. Changing
    the primary key without downtime takes three keyrings, each rolled out to every process
    before the next:

    >>> old = Keyring.generate("2023")
    >>> added = old.with_key("2024")  # 1. every process can read the new key
    >>> promoted = added.promoted("2024")  # 2. every process writes it; then `kvwrap.rewrite`
    >>> retired = promoted.retired("2023")  # 3. once the report of `rewrite` is without it
    >>> retired
    Keyring(primary='2024')

    Args:
        keys: Keys by name: a `Key`, or the 32 bytes of one for AES-256-GCM, or their base64.
        primary: The name of the key to write with; the first one if left out.

    Raises:
        ConfigurationError: There is no key, one is of the wrong length, two are the same, or
            the primary one is not among them.
    """

    def __init__(
        self, keys: Mapping[str, Key | bytes | str], *, primary: str | None = None
    ) -> None:
        checked_keys(
            keys, "a keyring has at least one key: Keyring({'2024': key}), or Keyring.generate()"
        )
        self._keys = {name: _key(name, key) for name, key in keys.items()}
        self._check_distinct()
        self.primary = next(iter(self._keys)) if primary is None else primary
        if self.primary not in self._keys:
            raise ConfigurationError(
                f"the primary key {primary!r} is not in the keyring, which has "
                f"{', '.join(map(repr, self._keys))}"
            )
        self._reference: Mapping[str, str] | None = None
        self._ciphers: dict[str, Cipher] = {}

    # -- where it comes from -----------------------------------------------------------

    @classmethod
    def generate(cls, name: str | None = None, *, algorithm: Algorithm = "aes-256-gcm") -> Self:
        """A keyring of one new key, which is kept nowhere yet: see `reveal_text`.

        Args:
            name: The key's name; a random one if left out.
            algorithm: What the key is for.
        """
        return cls({name or secrets.token_hex(4): Key.generate(algorithm)})

    @staticmethod
    def generate_key() -> str:
        """The base64 of 32 new bytes from the operating system's randomness."""
        return Key.generate().reveal_text()

    @classmethod
    def from_env(cls, name: str) -> Self:
        """The keyring in an environment variable, in one of the forms of `from_text`."""
        keyring = cls._of(text.from_env(name), f"environment variable {name}")
        keyring._reference = {"env": name}
        return keyring

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """The keyring in a file, in one of the forms of `from_text`.

        Warns:
            StackWarning: Every user of the machine may read the file.
        """
        keyring = cls._of(text.from_file(path), f"key file {os.fspath(path)}")
        keyring._reference = {"file": os.fspath(path)}
        return keyring

    @classmethod
    def from_text(cls, secret: str) -> Self:
        """The keyring that this text says: `name:base64,name:algorithm:base64`, or JSON.

        In the compact form the first key is the primary one. JSON is
        `{"primary": name, "keys": {name: base64 | {"key": base64, "algorithm": …}}}`.
        """
        return cls._of(text.parsed(secret, "the keyring's text"), "the keyring's text")

    @staticmethod
    def from_callable(fetch: Callable[[], Any], *, refresh: float | None = None) -> KeySource:
        """Keys that a function gives, asked when the store is opened: see `LiveKeyring`.

        Args:
            fetch: Gives a `Keyring`, or a mapping of names to keys whose first is primary.
                Async, or else run in a thread.
            refresh: Seconds after which the function is asked anew; `None` for only when a
                key is not known.
        """
        return LiveKeyring(fetch, _keys_of, refresh=refresh)

    @classmethod
    def _of(cls, found: text.Text, where: str) -> Self:
        try:
            keys = {key.name: _key(key.name, key.data, key.algorithm) for key in found.keys}
            return cls(keys, primary=found.primary)
        except ConfigurationError as error:
            raise ConfigurationError(f"{where}: {error.message}") from None

    @property
    def reference(self) -> Mapping[str, str] | None:
        return self._reference

    # -- what it has -------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the keys."""
        return tuple(self._keys)

    @property
    def ids(self) -> dict[str, str]:
        """The id by which entries name each key, in hexadecimal, by the key's name."""
        return {name: codec.fingerprint(name).hex() for name in self._keys}

    def algorithm(self, name: str) -> str:
        """What the key of this name is for."""
        return self._known(name).algorithm

    def reveal_text(self) -> str:
        """The keyring in the compact form, keys and all, to be put where secrets are kept."""
        names = sorted(self._keys, key=lambda name: name != self.primary)
        return text.written(
            (name, self._keys[name].algorithm, self._keys[name].reveal_text()) for name in names
        )

    # -- rotation ----------------------------------------------------------------------

    def with_key(self, name: str, key: Key | bytes | str | None = None) -> Self:
        """A keyring that can also read with this key, a new one if left out.

        Raises:
            ConfigurationError: There is a key of this name already.
        """
        if name in self._keys:
            raise ConfigurationError(f"there is a key {name!r} already: name the new one otherwise")
        added = Key.generate() if key is None else key
        return self._changed({**self._keys, name: added}, self.primary)

    def promoted(self, name: str) -> Self:
        """A keyring that writes with this one of its keys."""
        self._known(name)
        return self._changed(self._keys, name)

    def retired(self, name: str) -> Self:
        """A keyring without this key: entries sealed with it can no longer be read.

        Raises:
            ConfigurationError: It is the primary key, or there is none of this name.
        """
        self._known(name)
        if name == self.primary:
            raise ConfigurationError(
                f"{name!r} is the primary key: promote another before it is retired"
            )
        return self._changed(
            {other: key for other, key in self._keys.items() if other != name}, self.primary
        )

    def _changed(self, keys: Mapping[str, Key | bytes | str], primary: str) -> Self:
        changed = type(self)(keys, primary=primary)
        changed.adopt(self._ciphers.values())
        return changed

    def adopt(self, ciphers: Iterable[Cipher]) -> None:
        """Continue with the ciphers, and so the message counts, of keys that are the same here."""
        for cipher in ciphers:
            if cipher.key == self._keys.get(cipher.name):
                self._ciphers[cipher.name] = cipher

    def _known(self, name: str) -> Key:
        if name not in self._keys:
            raise ConfigurationError(
                f"there is no key {name!r} in the keyring, which has "
                f"{', '.join(map(repr, self._keys))}"
            )
        return self._keys[name]

    def _check_distinct(self) -> None:
        names = list(self._keys)
        for place, name in enumerate(names):
            for other in names[:place]:
                if codec.fingerprint(name) == codec.fingerprint(other):
                    raise ConfigurationError(
                        f"the names {other!r} and {name!r} come to the same key id: name one of "
                        "the keys otherwise"
                    )
                if self._keys[name].same_material(self._keys[other]):
                    raise ConfigurationError(
                        f"the keys {other!r} and {name!r} are the same bytes: a key has one name "
                        "and one algorithm"
                    )

    # -- at work -----------------------------------------------------------------------

    def bind(self, clock: Clock) -> PlainKeys:
        return _keys_of(self, None)

    def cipher(self, name: str) -> Cipher:
        """The key of this name at work; the same object for everyone, so that it can count."""
        cipher = self._ciphers.get(name)
        if cipher is None:
            cipher = self._ciphers[name] = Cipher(name, self._keys[name])
        return cipher

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Keyring):
            return NotImplemented
        return self.primary == other.primary and self._keys == other._keys

    def __hash__(self) -> int:
        return hash((self.primary, frozenset(self._keys)))

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        others = [name for name in self._keys if name != self.primary]
        return f"Keyring(primary={self.primary!r}{f', others={others!r}' if others else ''})"


def _keys_of(found: Any, before: PlainKeys | None) -> PlainKeys:
    keyring = found if isinstance(found, Keyring) else Keyring(found)
    if before is not None:
        keyring.adopt(before.opening.values())
    return PlainKeys(keyring.cipher(keyring.primary), map(keyring.cipher, keyring.names))


def _key(name: str, key: Key | bytes | str, algorithm: str = "aes-256-gcm") -> Key:
    try:
        return key if isinstance(key, Key) else Key(key, algorithm=algorithm)
    except ConfigurationError as error:
        raise ConfigurationError(f"key {name!r}: {error.message}") from None
