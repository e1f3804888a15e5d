"""Keys by name, one of them primary, and their rotation: the base of both keyrings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Generic, Self, TypeVar

from kvwrap.core import codec
from kvwrap.core.validation import is_name
from kvwrap.errors import ConfigurationError
from kvwrap.keyring.key import looks_like_key, shown_name
from kvwrap.keyring.source import KeySource

K = TypeVar("K")


class NamedKeys(KeySource, Generic[K]):
    """Keys by name, as an immutable value. New entries are sealed with the primary key.

    Args:
        keys: Keys by name.
        primary: The name of the primary key; the first one if `None`.

    Raises:
        ConfigurationError: Two names have the same key id, or the primary key is not there.
    """

    def __init__(self, keys: Mapping[str, K], primary: str | None) -> None:
        _check_ids(keys)
        self._keys = dict(keys)
        self.primary = next(iter(keys)) if primary is None else primary
        self._require(self.primary)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the keys."""
        return tuple(self._keys)

    @property
    def ids(self) -> dict[str, str]:
        """The id by which entries name each key, in hexadecimal, by the key's name."""
        return {name: codec.fingerprint(name).hex() for name in self._keys}

    def promoted(self, name: str) -> Self:
        """Return a keyring that writes with this one of its keys.

        Raises:
            ConfigurationError: The keyring has no key of this name.
        """
        self._require(name)
        return self._replace(self._keys, name)

    def retired(self, name: str) -> Self:
        """Return a keyring without this key: entries sealed with it can no longer be read.

        Raises:
            ConfigurationError: It is the primary key, or the keyring has no key of this name.
        """
        self._require(name)
        if name == self.primary:
            raise ConfigurationError(
                f"the primary key {name!r} cannot be retired: promote another key first"
            )
        remaining = {other: key for other, key in self._keys.items() if other != name}
        return self._replace(remaining, self.primary)

    def _replace(self, keys: Mapping[str, K], primary: str) -> Self:
        """Return a keyring like this one with other keys."""
        raise NotImplementedError

    def _require(self, name: str) -> K:
        """Return the key of this name. Raises `ConfigurationError` for an unknown name."""
        if name not in self._keys:
            raise ConfigurationError(
                f"the keyring has no key {shown_name(name)}: use one of "
                f"{', '.join(map(shown_name, self._keys))}, or add the key first"
            )
        return self._keys[name]

    def _check_new(self, name: str) -> None:
        """Raise `ConfigurationError` if the keyring has a key of this name."""
        if name in self._keys:
            raise ConfigurationError(
                f"the keyring already has a key {name!r}: give the new key another name"
            )

    def _primary_first(self) -> list[tuple[str, K]]:
        return sorted(self._keys.items(), key=lambda item: item[0] != self.primary)


def checked_mapping(keys: Any, kind: str, hint: str) -> Mapping[str, Any]:
    """Return a mapping of names to keys. Raises `ConfigurationError` for anything else.

    Args:
        keys: The user's argument, which is never shown.
        kind: The term for one of the keys.
        hint: The way to a valid argument.
    """
    if not isinstance(keys, Mapping) or not keys:
        got = "an empty mapping" if isinstance(keys, Mapping) else type(keys).__name__
        raise ConfigurationError(
            f"`keys` must be a mapping of names with at least one {kind}; got {got}: {hint}"
        )
    for name in keys:
        if not is_name(name):
            got = "an empty one" if name == "" else type(name).__name__
            if isinstance(name, str) and name:
                got = "one with a lone surrogate"
            raise ConfigurationError(
                f"a key's name must be a string of at least one character; got {got}"
            )
        if looks_like_key(name):
            # Not shown: name and key may be in the wrong order.
            raise ConfigurationError(
                "`keys` must map names to keys; got a name that looks like a key: use "
                "{name: key}, in this order"
            )
    return keys


def _check_ids(names: Iterable[str]) -> None:
    """Raise `ConfigurationError` if two names have the same key id."""
    name_by_id: dict[bytes, str] = {}
    for name in names:
        other = name_by_id.setdefault(codec.fingerprint(name), name)
        if other != name:
            raise ConfigurationError(
                f"the names {other!r} and {name!r} have the same key id: rename one of the keys"
            )
