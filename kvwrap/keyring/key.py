"""One key: its bytes, and the algorithm that it is for."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from typing import Any, Literal, NoReturn, Self

import msgspec

from kvwrap.core.validation import suggest
from kvwrap.errors import ConfigurationError

Algorithm = Literal["aes-256-gcm", "chacha20-poly1305", "aes-256-gcm-siv"]
"""What a key can be for."""

LENGTH = 32
"""Bytes in a key, of every algorithm."""

NONCE = 12
"""Bytes in a nonce, of every algorithm."""

TAG = 16
"""Bytes in an authentication tag, of every algorithm."""


class Suite(msgspec.Struct, frozen=True):
    """What is to be known of an algorithm.

    Attributes:
        cls: The name of its class in `cryptography.hazmat.primitives.ciphers.aead`.
        messages: How many messages with random nonces one key is good for.
    """

    cls: str
    messages: int


# With nonces of 96 random bits, 2^32 messages keep the chance that two share one below
# 2^-32: the limit of NIST SP 800-38D, section 8.3, for AES-GCM. ChaCha20-Poly1305 (RFC 8439)
# has nonces of the same size, and loses as much when one repeats. AES-GCM-SIV (RFC 8452) only
# gives away that two messages are the same, so the birthday bound itself will do.
SUITES: dict[str, Suite] = {
    "aes-256-gcm": Suite("AESGCM", 2**32),
    "chacha20-poly1305": Suite("ChaCha20Poly1305", 2**32),
    "aes-256-gcm-siv": Suite("AESGCMSIV", 2**48),
}


def checked_algorithm(algorithm: object) -> str:
    """The algorithm's name, or `ConfigurationError`."""
    if isinstance(algorithm, str) and algorithm in SUITES:
        return algorithm
    raise ConfigurationError(
        f"no algorithm is called {algorithm!r}: {suggest(str(algorithm), SUITES)}"
    )


class Key:
    """A key of 32 bytes, for one algorithm. It shows itself to nobody.

    Args:
        material: The bytes, or their base64 (either alphabet).
        algorithm: "aes-256-gcm", "chacha20-poly1305" or "aes-256-gcm-siv".

    Raises:
        ConfigurationError: The material is not 32 bytes, or the algorithm is unknown.

    >>> Key.generate()
    Key('aes-256-gcm')
    """

    __slots__ = ("_material", "algorithm")

    def __init__(
        self, material: bytes | str, *, algorithm: Algorithm | str = "aes-256-gcm"
    ) -> None:
        self.algorithm = checked_algorithm(algorithm)
        self._material = checked_material(material)

    @classmethod
    def generate(cls, algorithm: Algorithm = "aes-256-gcm") -> Self:
        """A new key, from the operating system's randomness."""
        return cls(secrets.token_bytes(LENGTH), algorithm=algorithm)

    def reveal(self) -> bytes:
        """The bytes of the key, to be put where keys are kept. Nothing else shows them."""
        return self._material

    def reveal_text(self) -> str:
        """As `reveal`, in URL-safe base64."""
        return base64.urlsafe_b64encode(self._material).decode()

    def aead(self) -> Any:
        """The key at work, an object of `cryptography`."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.ciphers import aead

        try:
            return getattr(aead, SUITES[self.algorithm].cls)(self._material)
        except UnsupportedAlgorithm:
            raise ConfigurationError(
                f"the OpenSSL that cryptography is linked with lacks {self.algorithm}: install "
                "cryptography from its own wheels, or give the key another algorithm"
            ) from None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Key):
            return NotImplemented
        return self.algorithm == other.algorithm and self.same_material(other)

    def same_material(self, other: Key) -> bool:
        """Whether the bytes are the same, told in constant time."""
        return hmac.compare_digest(self._material, other._material)

    def __hash__(self) -> int:
        return hash(self.algorithm)

    def __repr__(self) -> str:
        return f"Key({self.algorithm!r})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are not pickled: each process loads them from where they are kept")


def checked_material(material: object) -> bytes:
    """The 32 bytes, or a `ConfigurationError` that shows none of them."""
    if isinstance(material, str):
        material = decoded(material)
    if not isinstance(material, bytes | bytearray | memoryview):
        raise ConfigurationError(
            f"a key is {LENGTH} bytes, or their base64, not {type(material).__name__}"
        )
    if len(material) != LENGTH:
        raise ConfigurationError(
            f"a key is {LENGTH} bytes, and this one is {len(material)}: make one with "
            "`python -m kvwrap keygen`, or Key.generate()"
        )
    return bytes(material)


def decoded(text: str) -> bytes:
    """The bytes that this base64 stands for, of either alphabet, padded or not."""
    plain = text.strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (ValueError, binascii.Error):
        # From nothing: the library's error may show the text.
        raise ConfigurationError(
            "a key is given in base64, and this text is not: make one with "
            "`python -m kvwrap keygen`"
        ) from None
