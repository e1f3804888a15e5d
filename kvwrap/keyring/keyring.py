"""A keyring: keys by name, one of them primary."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Self

from kvwrap.core.clock import Clock
from kvwrap.errors import ConfigurationError
from kvwrap.keyring import text
from kvwrap.keyring.calling import TIMEOUT
from kvwrap.keyring.cipher import Cipher
from kvwrap.keyring.key import Algorithm, Key
from kvwrap.keyring.live import LiveKeyring
from kvwrap.keyring.rotation import NamedKeys, checked_mapping
from kvwrap.keyring.source import KeySource
from kvwrap.keyring.static import PlainKeys


class Keyring(NamedKeys[Key]):
    """Keys by name, an immutable value. New entries are sealed with the primary key.

    An entry identifies its key by four bytes, derived from the key's name. The keyring
    determines that key and its algorithm, so no bytes of the backend choose an algorithm.
    Changing the primary key without downtime takes three keyrings, each rolled out to every
    process before the next:

    >>> old = Keyring.generate("2023")
    >>> added = old.with_key("2024")  # 1. every process can read the new key
    >>> promoted = added.promoted("2024")  # 2. every process writes it; then `kvwrap.rewrite`
    >>> retired = promoted.retired("2023")  # 3. once the report of `rewrite` is without it
    >>> retired
    Keyring(primary='2024')

    Args:
        keys: Keys by name: a `Key`, or the 32 bytes of one for AES-256-GCM, or their base64.
        primary: The name of the key to write with; the first one if omitted.

    Raises:
        ConfigurationError: There is no key, a key has a wrong length, two keys are the same,
            or the primary key is not among them.
    """

    def __init__(
        self, keys: Mapping[str, Key | bytes | str], *, primary: str | None = None
    ) -> None:
        checked_mapping(keys, "key", "use Keyring({'2024': key}) or Keyring.generate()")
        converted = {name: _to_key(name, key) for name, key in keys.items()}
        _check_distinct(converted)
        super().__init__(converted, primary)
        self._reference: Mapping[str, str] | None = None

    # -- sources -----------------------------------------------------------------------

    @classmethod
    def generate(cls, name: str | None = None, *, algorithm: Algorithm = "aes-256-gcm") -> Self:
        """Create a keyring of one new key, which is stored nowhere yet: see `reveal_text`.

        Args:
            name: The key's name; a random one if omitted.
            algorithm: The key's algorithm.
        """
        return cls({name or secrets.token_hex(4): Key.generate(algorithm)})

    @staticmethod
    def generate_key() -> str:
        """Return the base64 of 32 new bytes from the operating system's randomness."""
        return Key.generate().reveal_text()

    @classmethod
    def from_env(cls, name: str) -> Self:
        """Read the keyring from an environment variable, in one of the forms of `from_text`."""
        keyring = cls._from_parsed(text.from_env(name), f"environment variable {name}")
        keyring._reference = {"env": name}
        return keyring

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read the keyring from a file, in one of the forms of `from_text`.

        Warns:
            StackWarning: Every user of the machine can read the file.
        """
        keyring = cls._from_parsed(text.from_file(path), f"key file {os.fspath(path)}")
        keyring._reference = {"file": os.fspath(path)}
        return keyring

    @classmethod
    def from_text(cls, secret: str) -> Self:
        """Parse a text: `name:base64,name:algorithm:base64`, or JSON.

        In the compact form the first key is the primary one. JSON is
        `{"primary": name, "keys": {name: base64 | {"key": base64, "algorithm": …}}}`.
        """
        return cls._from_parsed(text.parse(secret, "the keyring's text"), "the keyring's text")

    @staticmethod
    def from_callable(
        fetch: Callable[[], Any], *, refresh: float | None = None, timeout: float = TIMEOUT
    ) -> KeySource:
        """Use the keys that a function returns, called when the store is opened.

        See `LiveKeyring`.

        Args:
            fetch: Returns a `Keyring`, or a mapping of names to keys whose first key is
                primary. Async, or else run in a thread.
            refresh: Seconds after which the function is called again. `None`: only when a key
                is unknown.
            timeout: Seconds within which the function must return.
        """
        return LiveKeyring(fetch, _bind, refresh=refresh, timeout=timeout)

    @classmethod
    def _from_parsed(cls, parsed: text.ParsedKeyring, source: str) -> Self:
        try:
            keys = {key.name: _to_key(key.name, key.data, key.algorithm) for key in parsed.keys}
            return cls(keys, primary=parsed.primary)
        except ConfigurationError as error:
            raise ConfigurationError(f"{source}: {error.message}") from None

    @property
    def reference(self) -> Mapping[str, str] | None:
        return self._reference

    # -- content -----------------------------------------------------------------------

    def algorithm(self, name: str) -> str:
        """Return the algorithm of the key of this name."""
        return self._require(name).algorithm

    def reveal_text(self) -> str:
        """Return the keyring in the compact form, keys included, to be stored as a secret."""
        return text.format_keys(
            (name, key.algorithm, key.reveal_text()) for name, key in self._primary_first()
        )

    # -- rotation ----------------------------------------------------------------------

    def with_key(self, name: str, key: Key | bytes | str | None = None) -> Self:
        """Return a keyring that can also read with this key, a new one if omitted.

        Raises:
            ConfigurationError: The keyring already has a key of this name.
        """
        self._check_new(name)
        added: Any = Key.generate() if key is None else key  # the constructor converts it
        return self._replace({**self._keys, name: added}, self.primary)

    def _replace(self, keys: Mapping[str, Key], primary: str) -> Self:
        return type(self)(keys, primary=primary)

    # -- use by a layer ----------------------------------------------------------------

    def bind(self, clock: Clock) -> PlainKeys:
        return _bind(self)

    def cipher(self, name: str) -> Cipher:
        """Return a cipher for the key of this name."""
        return Cipher(name, self._require(name))

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


def _bind(source: Any) -> PlainKeys:
    """Bind a keyring, or a mapping of keys."""
    keyring = source if isinstance(source, Keyring) else Keyring(source)
    return PlainKeys(keyring.primary, map(keyring.cipher, keyring.names))


def _to_key(name: str, key: Key | bytes | str, algorithm: str = "aes-256-gcm") -> Key:
    try:
        return key if isinstance(key, Key) else Key(key, algorithm=algorithm)
    except ConfigurationError as error:
        raise ConfigurationError(f"key {name!r}: {error.message}") from None


def _check_distinct(keys: Mapping[str, Key]) -> None:
    for (other, first), (name, second) in itertools.combinations(keys.items(), 2):
        if first.same_material(second):
            raise ConfigurationError(
                f"two keys must not be the same bytes, and {other!r} and {name!r} are: give a "
                "key one name and one algorithm"
            )
