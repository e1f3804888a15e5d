"""Keys written down: the compact form and the JSON form, for both plain and wrapped keys.

Compact, the first key being the primary one, with the algorithm where it is not
aes-256-gcm::

    2024-06:aNpC...=, 2023-01:chacha20-poly1305:Zm9v...=

Keys are separated by commas, white space or line ends; from ``#`` to the end of its line is
a comment. JSON, where ``primary`` may be left out if the first key is it::

    {"primary": "2024-06",
     "keys": {"2023-01": {"key": "Zm9v...=", "algorithm": "chacha20-poly1305"},
              "2024-06": "aNpC...="}}
"""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from kvwrap.errors import ConfigurationError, StackWarning
from kvwrap.keyring.key import LENGTH, checked_algorithm, decoded

_COMMENT = re.compile(r"#[^\n]*")
_BETWEEN = re.compile(r"[\s,]+")
_UNWRITABLE = re.compile(r"[\s,:#]")


class Written(msgspec.Struct, frozen=True):
    """One key as it was written down."""

    name: str
    algorithm: str
    data: bytes

    def __repr__(self) -> str:
        return f"Written({self.name!r})"


class Text(msgspec.Struct, frozen=True):
    """A keyring as it was written down."""

    primary: str
    keys: tuple[Written, ...]


def parsed(text: str, where: str) -> Text:
    """What either form says.

    Args:
        text: The text, secret.
        where: Where it comes from, for the error.

    Raises:
        ConfigurationError: It is neither form, or has no key.
    """
    try:
        found = _json(text) if text.lstrip().startswith("{") else _compact(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error.message}") from None
    names = [key.name for key in found.keys]
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise ConfigurationError(f"{where}: two keys are called {doubled.pop()!r}: drop one")
    return found


def _compact(text: str) -> Text:
    keys = []
    for place, item in enumerate(filter(None, _BETWEEN.split(_COMMENT.sub("", text))), 1):
        # Nothing of the item is shown: where a colon is missing, it may be the key itself.
        name, _, rest = item.partition(":")
        algorithm, colon, data = rest.rpartition(":")
        if not name or not data:
            raise ConfigurationError(
                f"key number {place} is not written as name:base64 or name:algorithm:base64"
            )
        keys.append(_written(name, algorithm if colon else "aes-256-gcm", data))
    if not keys:
        raise ConfigurationError(
            "there is no key: write name:base64, as `python -m kvwrap keygen` prints it"
        )
    return Text(keys[0].name, tuple(keys))


def _json(text: str) -> Text:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise ConfigurationError("begins as JSON, and is not valid JSON") from None
    given: Any = found.get("keys")
    if not isinstance(given, dict) or not given or not found.keys() <= {"primary", "keys"}:
        raise ConfigurationError(
            'the JSON form is {"primary": "name", "keys": {"name": "base64", ...}}'
        )
    keys = []
    for name, value in given.items():
        fields = value if isinstance(value, dict) else {"key": value}
        data = fields.get("key")
        if not isinstance(data, str) or not fields.keys() <= {"key", "algorithm"}:
            raise ConfigurationError(
                f'key {name!r} is neither "base64" nor {{"key": "base64", "algorithm": "..."}}'
            )
        keys.append(_written(name, fields.get("algorithm", "aes-256-gcm"), data))
    primary = found.get("primary", keys[0].name)
    if not isinstance(primary, str):
        raise ConfigurationError("primary is the name of one of the keys")
    return Text(primary, tuple(keys))


def _written(name: str, algorithm: object, data: str) -> Written:
    if _looks_like_key(name):
        # Not shown: the two may have been written the wrong way round.
        raise ConfigurationError("a key's name looks like a key: write name:base64, in this order")
    try:
        return Written(name, checked_algorithm(algorithm), decoded(data))
    except ConfigurationError as error:
        raise ConfigurationError(f"key {name!r}: {error.message}") from None


def _looks_like_key(name: str) -> bool:
    try:
        return len(decoded(name)) >= LENGTH
    except ConfigurationError:
        return False


def written(keys: Iterable[tuple[str, str, str]]) -> str:
    """The compact form of these names, algorithms and base64 texts, the primary key first."""
    items = []
    for name, algorithm, data in keys:
        if _UNWRITABLE.search(name):
            raise ConfigurationError(
                f"the key's name {name!r} has white space or one of , : # in it, which the compact "
                "form cannot hold: keep this keyring as JSON, or name the key otherwise"
            )
        items.append(
            f"{name}:{data}" if algorithm == "aes-256-gcm" else f"{name}:{algorithm}:{data}"
        )
    return ",".join(items)


def from_env(name: str) -> Text:
    """What the environment variable says; raises `ConfigurationError`."""
    text = os.environ.get(name)
    if text is None:
        raise ConfigurationError(
            f"the environment has no {name}: set it to name:base64, as "
            "`python -m kvwrap keygen` prints it"
        )
    return parsed(text, f"environment variable {name}")


def from_file(path: str | os.PathLike[str], *, secret: bool = True) -> Text:
    """What the file says; raises `ConfigurationError`, warns where others may read a secret."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        mode = Path(path).stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the keys cannot be read from {os.fspath(path)} ({type(error).__name__}): make the "
            "file with `python -m kvwrap keygen`"
        ) from error
    if secret and os.name == "posix" and mode & stat.S_IROTH:
        warnings.warn(
            f"key-file-open: every user of this machine can read the keys in {os.fspath(path)}. "
            "Take that right away: chmod o-r.",
            StackWarning,
            stacklevel=3,
        )
    return parsed(text, f"key file {os.fspath(path)}")
