"""Key-encryption keys: keys that wrap data keys."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn, Protocol, Self

from kvwrap.errors import ConfigurationError, DecryptionError
from kvwrap.keyring.key import UNPICKLABLE, Key, shown_source


class KEK(Protocol):
    """Wraps and unwraps data keys: `LocalKEK`, or a key service behind two calls.

    Each call takes bytes and returns bytes, and may be async. A call that is not async runs
    in a thread.
    """

    @property
    def unwrap(self) -> Callable[[bytes], Any]:
        """Return the data key of these wrapped bytes. Raises any error for other bytes."""

    @property
    def wrap(self) -> Callable[[bytes], Any]:
        """Return the data key, wrapped."""


class KeyCalls(NamedTuple):
    """A key service as two functions. Reading and writing entries needs only `unwrap`."""

    unwrap: Callable[[bytes], Any]
    wrap: Callable[[bytes], Any]

    def __repr__(self) -> str:
        return "KeyCalls(...)"


class LocalKEK:
    """A key-encryption key of 32 bytes in this process, with AES key wrap (RFC 3394).

    Args:
        material: The bytes, or their base64.

    >>> LocalKEK.generate()
    LocalKEK()
    """

    def __init__(self, material: bytes | str) -> None:
        self._key = Key(material)

    @classmethod
    def generate(cls) -> Self:
        """Create a new one from the operating system's randomness."""
        return cls(Key.generate().reveal())

    @classmethod
    def from_env(cls, name: str) -> Self:
        """Read one from an environment variable, which contains only its base64."""
        material = os.environ.get(name, "").strip()
        if not material:
            raise ConfigurationError(
                f"the environment variable {shown_source(name)} must contain 32 bytes in base64; "
                "it is not set, or empty"
            )
        try:
            return cls(material)
        except ConfigurationError as error:
            raise ConfigurationError(f"environment variable {name}: {error.message}") from None

    def reveal_text(self) -> str:
        """Return its base64, to be stored as a secret."""
        return self._key.reveal_text()

    async def wrap(self, material: bytes) -> bytes:
        """Wrap a data key. The result is 8 bytes longer."""
        from cryptography.hazmat.primitives.keywrap import aes_key_wrap

        return aes_key_wrap(self._key.reveal(), material)

    async def unwrap(self, wrapped: bytes) -> bytes:
        """Unwrap a data key.

        Raises:
            DecryptionError: The bytes were altered, or wrapped with another key.
        """
        from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

        try:
            return aes_key_unwrap(self._key.reveal(), wrapped)
        except (InvalidUnwrap, ValueError):
            raise DecryptionError(
                "a wrapped data key does not open with this key-encryption key: it was altered, "
                "or wrapped with another key"
            ) from None

    def __repr__(self) -> str:
        return "LocalKEK()"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(UNPICKLABLE)
