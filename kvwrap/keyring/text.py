"""Keyrings as text: the compact form and the JSON form, for both plain and wrapped keys.

Compact form, with the primary key first, and with the algorithm unless it is aes-256-gcm::

    2024-06:aNpC...=, 2023-01:chacha20-poly1305:Zm9v...=

Keys are separated by commas, white space or line ends. From ``#`` to the end of its line is
a comment. In the JSON form, ``primary`` may be omitted if the first key is the primary one::

    {"primary": "2024-06",
     "keys": {"2023-01": {"key": "Zm9v...=", "algorithm": "chacha20-poly1305"},
              "2024-06": "aNpC...="}}
"""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from kvwrap.core.validation import path_text
from kvwrap.errors import ConfigurationError, StackWarning
from kvwrap.keyring.key import (
    checked_algorithm,
    decode_base64,
    looks_like_key,
    shown_name,
    shown_source,
)

_COMMENT = re.compile(r"#[^\n]*")
_SEPARATOR = re.compile(r"[\s,]+")
_MAX_SIZE = 2**20
"""Largest file of keys, in bytes."""
_RESERVED = re.compile(r"[\s,:#]")


class ParsedKey(msgspec.Struct, frozen=True):
    """One key of a keyring's text."""

    name: str
    algorithm: str
    data: bytes

    def __repr__(self) -> str:
        return f"ParsedKey({self.name!r})"


class ParsedKeyring(msgspec.Struct, frozen=True):
    """The content of a keyring's text."""

    primary: str
    keys: tuple[ParsedKey, ...]


def parse(text: str, source: str) -> ParsedKeyring:
    """Parse a keyring's text, in either form.

    Args:
        text: The text, which is secret.
        source: Where the text comes from, for the error message.

    Raises:
        ConfigurationError: The text has neither form, or contains no key.
    """
    try:
        _check_unicode(text)
        parsed = _parse_json(text) if text.lstrip().startswith("{") else _parse_compact(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: {error.message}") from None
    names = [key.name for key in parsed.keys]
    if len(set(names)) < len(names):
        repeated = next(name for name, count in Counter(names).items() if count > 1)
        raise ConfigurationError(
            f"{source}: two keys have the name {repeated!r}: remove or rename one"
        )
    return parsed


def _check_unicode(text: str) -> None:
    # Not with `encode`: its error holds the whole text, as the context of another error too.
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise ConfigurationError(
            "the text must be UTF-8, and this one is not: keys and their names are text"
        )


def _parse_compact(text: str) -> ParsedKeyring:
    keys = []
    for number, item in enumerate(filter(None, _SEPARATOR.split(_COMMENT.sub("", text))), 1):
        # No part of the item is shown: without a colon, it may be the key itself.
        name, _, remainder = item.partition(":")
        algorithm, colon, data = remainder.rpartition(":")
        if not name or not data:
            raise ConfigurationError(
                f"key number {number} must have the form name:base64 or name:algorithm:base64, "
                "and has neither"
            )
        keys.append(_parse_key(name, algorithm if colon else "aes-256-gcm", data))
    if not keys:
        raise ConfigurationError(
            "the text must contain at least one key, and is empty: write name:base64, as "
            "`python -m kvwrap keygen` prints it"
        )
    return ParsedKeyring(keys[0].name, tuple(keys))


def _parse_json(text: str) -> ParsedKeyring:
    try:
        content = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise ConfigurationError(
            "a text that begins with { must be valid JSON, and this one is not"
        ) from None
    items: Any = content.get("keys")
    if not isinstance(items, dict) or not items or not content.keys() <= {"primary", "keys"}:
        raise ConfigurationError(
            'the JSON form must be {"primary": "name", "keys": {"name": "base64", ...}}, with at '
            "least one key and no other fields"
        )
    keys = []
    for name, value in items.items():
        fields = value if isinstance(value, dict) else {"key": value}
        data = fields.get("key")
        if not isinstance(data, str) or not fields.keys() <= {"key", "algorithm"}:
            raise ConfigurationError(
                f'key {shown_name(name)} must be "base64" or '
                '{"key": "base64", "algorithm": "..."}, and is neither'
            )
        keys.append(_parse_key(name, fields.get("algorithm", "aes-256-gcm"), data))
    primary = content.get("primary", keys[0].name)
    if not isinstance(primary, str):
        raise ConfigurationError(
            f"`primary` must be the name of one of the keys; got {type(primary).__name__}"
        )
    return ParsedKeyring(primary, tuple(keys))


def _parse_key(name: str, algorithm: object, data: str) -> ParsedKey:
    if looks_like_key(name):
        # Not shown: name and key may be in the wrong order.
        raise ConfigurationError(
            "the name of a key must not look like a key: write name:base64, in this order"
        )
    try:
        return ParsedKey(name, checked_algorithm(algorithm), decode_base64(data))
    except ConfigurationError as error:
        raise ConfigurationError(f"key {name!r}: {error.message}") from None


def format_keys(keys: Iterable[tuple[str, str, str]]) -> str:
    """Format names, algorithms and base64 texts in the compact form.

    The first key is the primary one.
    """
    items = []
    for name, algorithm, data in keys:
        if _RESERVED.search(name):
            raise ConfigurationError(
                "the name of a key in the compact form must not contain white space or any of "
                f", : #; got {name!r}: rename the key, or store this keyring as JSON"
            )
        items.append(
            f"{name}:{data}" if algorithm == "aes-256-gcm" else f"{name}:{algorithm}:{data}"
        )
    return ",".join(items)


def from_env(name: str) -> ParsedKeyring:
    """Parse the text in an environment variable. Raises `ConfigurationError`."""
    text = os.environ.get(name) if path_text(name) else None
    if text is None:
        raise ConfigurationError(
            f"the environment variable {shown_source(name)} must contain the keys, and is not "
            "set: set it to name:base64, as `python -m kvwrap keygen` prints it"
        )
    return parse(text, f"environment variable {name}")


def from_file(path: str | os.PathLike[str], *, secret: bool = True) -> ParsedKeyring:
    """Parse the text in a file. Raises `ConfigurationError`.

    Warns if other users can read a secret file.
    """
    shown = shown_source(os.fsdecode(path))
    data, mode, problem = b"", 0, ""
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_SIZE + 1)
            mode = os.fstat(file.fileno()).st_mode
    except (OSError, ValueError) as error:
        problem = type(error).__name__
    if problem:
        # Raised here, so that the file's name, which may be a key, is in no error's context.
        raise ConfigurationError(
            f"the key file {shown} cannot be read ({problem}): create it with "
            "`python -m kvwrap keygen`"
        )
    # No more than the size and the encoding is said, since the content is secret.
    if len(data) > _MAX_SIZE:
        raise ConfigurationError(f"the key file {shown} must have at most {_MAX_SIZE} bytes")
    text = data.decode(errors="surrogateescape")
    if secret and os.name == "posix" and mode & stat.S_IROTH:
        warnings.warn(
            f"key-file-open: every user of this machine can read the keys in {shown}. "
            "Remove that permission: chmod o-r.",
            StackWarning,
            stacklevel=3,
        )
    return parse(text, f"key file {shown}")
