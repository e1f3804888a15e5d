"""One encryption key: its bytes and its algorithm."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from typing import Any, Literal, NoReturn, Self

import msgspec

from kvwrap.core.text import printable
from kvwrap.core.validation import suggest
from kvwrap.errors import ConfigurationError

Algorithm = Literal["aes-256-gcm", "chacha20-poly1305", "aes-256-gcm-siv"]
"""The algorithms that a key can have."""

LENGTH = 32
"""Bytes in a key, for every algorithm."""

NONCE = 12
"""Bytes in a nonce, for every algorithm."""

TAG = 16
"""Bytes in an authentication tag, for every algorithm."""

COMMITMENT = 16
"""Bytes of the commitment to its key that a message begins with."""

UNPICKLABLE = "a key cannot be pickled: load the keys in each process, from where they are stored"

_KEY_INSIDE = re.compile(r"(?<![\w+/=-])(?:[A-Za-z0-9+/_-]{43}|[0-9A-Fa-f]{64})(?![\w+/-])")
"""Where a text has the base64 or the hexadecimal digits of 32 bytes, whatever is around it."""

_LONGEST_SHOWN = 20
"""Characters of an unknown algorithm that an error shows; a longer text may be a key."""


class Suite(msgspec.Struct, frozen=True):
    """Properties of an algorithm.

    Attributes:
        cls: The name of its class in `cryptography.hazmat.primitives.ciphers.aead`.
        messages: The number of messages with random nonces for which one key is safe.
    """

    cls: str
    messages: int


# With nonces of 96 random bits, 2^32 messages keep the chance that two share one below
# 2^-32: the limit of NIST SP 800-38D, section 8.3, for AES-GCM. ChaCha20-Poly1305 (RFC 8439)
# has nonces of the same size, and loses as much when one repeats. With AES-GCM-SIV (RFC 8452)
# a repeated nonce reveals only that two messages are the same, so the birthday bound suffices.
SUITES: dict[str, Suite] = {
    "aes-256-gcm": Suite("AESGCM", 2**32),
    "chacha20-poly1305": Suite("ChaCha20Poly1305", 2**32),
    "aes-256-gcm-siv": Suite("AESGCMSIV", 2**48),
}


def checked_algorithm(algorithm: object) -> str:
    """Return the name of the algorithm. Raises `ConfigurationError` if it is unknown."""
    if isinstance(algorithm, str) and algorithm in SUITES:
        return algorithm
    text = algorithm if isinstance(algorithm, str) else type(algorithm).__name__
    shown = repr(text) if len(text) <= _LONGEST_SHOWN else f"a text of {len(text)} characters"
    raise ConfigurationError(f"unknown algorithm, {shown}: {suggest(text, SUITES)}")


class Key:
    """A key of 32 bytes, for one algorithm. Its `repr` and errors never show the bytes.

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
        """Create a new key from the operating system's randomness."""
        return cls(secrets.token_bytes(LENGTH), algorithm=algorithm)

    def reveal(self) -> bytes:
        """Return the bytes of the key, to be stored as a secret. Nothing else shows them."""
        return self._material

    def reveal_text(self) -> str:
        """Return the bytes of the key in URL-safe base64, to be stored as a secret."""
        return base64.urlsafe_b64encode(self._material).decode()

    def aead(self) -> Any:
        """Return the object of `cryptography` that encrypts and decrypts with this key."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.ciphers import aead

        try:
            return getattr(aead, SUITES[self.algorithm].cls)(self._material)
        except UnsupportedAlgorithm:
            raise ConfigurationError(
                f"the OpenSSL that cryptography is linked with lacks {self.algorithm}: install "
                "cryptography from its own wheels, or use another algorithm for the key"
            ) from None

    def commitment(self) -> bytes:
        """Return 16 bytes that commit a message to this key and its algorithm.

        HKDF-SHA256 of the key, so they reveal nothing of it.
        """
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        info = b"kvwrap key commitment" + self.algorithm.encode()
        derived: bytes = HKDF(SHA256(), COMMITMENT, salt=None, info=info).derive(self._material)
        return derived

    def digest(self) -> bytes:
        """Return the SHA-256 of algorithm and bytes, which identifies the key in this process."""
        return hashlib.sha256(self.algorithm.encode() + b":" + self._material).digest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Key):
            return NotImplemented
        return self.algorithm == other.algorithm and self.same_material(other)

    def same_material(self, other: Key) -> bool:
        """Return whether both keys have the same bytes, compared in constant time."""
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
        raise TypeError(UNPICKLABLE)


def checked_material(material: object) -> bytes:
    """Return the 32 bytes of a key. Raises a `ConfigurationError` that shows none of them."""
    if isinstance(material, str):
        material = decode_base64(material)
    if not isinstance(material, bytes | bytearray | memoryview):
        raise ConfigurationError(
            f"a key must be {LENGTH} bytes or their base64; got {type(material).__name__}: make "
            "one with `python -m kvwrap keygen` or Key.generate()"
        )
    if len(material) != LENGTH:
        raise ConfigurationError(
            f"a key must have {LENGTH} bytes; got {len(material)}: make one with "
            "`python -m kvwrap keygen` or Key.generate()"
        )
    return bytes(material)


def decode_base64(text: str) -> bytes:
    """Decode base64 of either alphabet, padded or not."""
    plain = text.strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (ValueError, binascii.Error):
        # Without a cause: the library's error may show the text.
        raise ConfigurationError(
            "a key that is a text must be valid base64, and this one is not: make one with "
            "`python -m kvwrap keygen`"
        ) from None


def shown_name(name: object) -> str:
    """Return a key's name for an error message, without a key that was given in its place."""
    if not isinstance(name, str):
        return f"of type {type(name).__name__}"
    return "(a name that looks like a key)" if looks_like_key(name) else repr(name)


def shown_source(source: str) -> str:
    """Return the name of a variable or file for an error, without keys given in its place."""
    return "(a text that looks like keys)" if _KEY_INSIDE.search(source) else printable(source)


def looks_like_key(text: str) -> bool:
    """Return whether a text may be a key in base64, or contain one, so that no error shows it."""
    if _KEY_INSIDE.search(text):
        return True
    try:
        return len(decode_base64(text)) >= LENGTH
    except ConfigurationError:
        return False
