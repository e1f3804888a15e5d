"""Keys that wrap keys."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn, Protocol, Self

from kvwrap.errors import ConfigurationError, DecryptionError
from kvwrap.keyring.key import Key


class KEK(Protocol):
    """What wraps data keys and opens them again: `LocalKEK`, or a key service behind two calls.

    Each call takes bytes and gives bytes, and may be async; one that is not runs in a thread.
    """

    @property
    def unwrap(self) -> Callable[[bytes], Any]:
        """The data key that was wrapped; raises what it likes for anything else."""

    @property
    def wrap(self) -> Callable[[bytes], Any]:
        """The data key, wrapped."""


class KeyCalls(NamedTuple):
    """A key service as two functions; reading and writing entries needs `unwrap` only."""

    unwrap: Callable[[bytes], Any]
    wrap: Callable[[bytes], Any]

    def __repr__(self) -> str:
        return "KeyCalls(...)"


class LocalKEK:
    """A key-encryption key of 32 bytes in this process, by AES key wrap (RFC 3394).

    Args:
        material: The bytes, or their base64.

    >>> LocalKEK.generate()
    LocalKEK()
    """

    def __init__(self, material: bytes | str) -> None:
        self._key = Key(material)

    @classmethod
    def generate(cls) -> Self:
        """A new one, from the operating system's randomness."""
        return cls(Key.generate().reveal())

    @classmethod
    def from_env(cls, name: str) -> Self:
        """The one in an environment variable: its base64, and nothing else."""
        found = os.environ.get(name, "").strip()
        if not found:
            raise ConfigurationError(f"the environment has no {name}: set it to 32 bytes in base64")
        try:
            return cls(found)
        except ConfigurationError as error:
            raise ConfigurationError(f"environment variable {name}: {error.message}") from None

    def reveal_text(self) -> str:
        """Its base64, to be put where secrets are kept."""
        return self._key.reveal_text()

    async def wrap(self, material: bytes) -> bytes:
        """The data key, wrapped; 8 bytes longer."""
        from cryptography.hazmat.primitives.keywrap import aes_key_wrap

        return aes_key_wrap(self._key.reveal(), material)

    async def unwrap(self, wrapped: bytes) -> bytes:
        """The data key; raises `DecryptionError` if another key wrapped it, or nothing did."""
        from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

        try:
            return aes_key_unwrap(self._key.reveal(), wrapped)
        except (InvalidUnwrap, ValueError):
            raise DecryptionError(
                "a wrapped data key does not open with this key-encryption key"
            ) from None

    def __repr__(self) -> str:
        return "LocalKEK()"

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are not pickled: each process loads them from where they are kept")
