"""Secrets that layers hash names with."""

from __future__ import annotations

from typing import Final, Protocol

from kvwrap.errors import ConfigurationError

_MIN_SECRET_BYTES: Final = 16


class Secret(Protocol):
    """A key whose bytes are hidden until `reveal` is called, such as `kvwrap.keyring.Key`."""

    def reveal(self) -> bytes:
        """Return the bytes."""


def secret_bytes(secret: object) -> bytes:
    """Return the bytes of a secret, checked.

    Raises:
        ConfigurationError: It is of another type, not valid Unicode, or too short.
    """
    value: object = secret
    if isinstance(secret, str):
        try:
            value = secret.encode()
        except UnicodeEncodeError:  # which shows the secret
            raise ConfigurationError(
                "`secret` must be bytes, or text of valid Unicode; got one with a lone surrogate"
            ) from None
    elif callable(reveal := getattr(secret, "reveal", None)):
        value = reveal()
    if not isinstance(value, bytes | bytearray | memoryview):
        raise ConfigurationError(
            f"`secret` must be bytes, text or one Key; got {type(secret).__name__} (not a keyring "
            "either: every name would change with its primary key)"
        )
    value = bytes(value)
    if len(value) < _MIN_SECRET_BYTES:
        raise ConfigurationError(
            f"`secret` must have at least {_MIN_SECRET_BYTES} bytes, as from "
            f"secrets.token_bytes(32); got {len(value)} bytes"
        )
    return value
