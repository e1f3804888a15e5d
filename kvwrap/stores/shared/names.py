"""Any name as a backend can hold it: escaped, and under a hash where it is too long."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Final

_DIGEST_BYTES: Final = 20
_LENGTH_BYTES: Final = 4
_HEX_DIGITS: Final = frozenset("0123456789abcdef")


class NameEncoding:
    """Encodes names with the characters and the length that a backend allows.

    A character that is not allowed becomes its UTF-8 bytes, each as the escape character and two
    hex digits. So does the escape character, which makes the encoding reversible. An encoding
    that is longer than the limit is cut, and followed by two escape characters, which occur in no
    other encoding, and a hash of the whole name. The name itself must then be kept with the value
    (`frame`). Different names have different encodings; if no capital letter is allowed, they
    differ also where case is ignored.

    Encodings without a hash sort as their names do, by code points, if all characters are allowed
    (`None`) or none is (`""`). One with a hash keeps the first `kept` bytes of what it replaces,
    or up to three less, and sorts among the others that begin so by its hash.

    Args:
        allowed: The characters that stay as they are; `None` for all. The escape character is
            escaped in any case.
        limit: Maximum length of an encoding, in UTF-8 bytes; at least 64.
        escape: A character of ASCII. The backend must hold it, and the digits and the letters
            from a to f.
        is_reserved: Returns True for an encoding that the backend does not take or gives a
            meaning. The first and the last character of such a name are escaped as well, and
            the result must not be reserved.

    Attributes:
        kept: Maximum number of bytes that an encoding keeps in front of a hash.
    """

    def __init__(
        self,
        allowed: str | None,
        *,
        limit: int,
        escape: str = "%",
        is_reserved: Callable[[str], bool] | None = None,
    ) -> None:
        if len(escape) != 1 or not escape.isascii() or escape in _HEX_DIGITS or limit < 64:
            raise ValueError(
                "`escape` must be a character of ASCII that is no hex digit, and `limit` at least "
                f"64; got {escape!r} and {limit!r}"
            )
        self._limit = limit
        self._escape = escape
        self._mark = escape * 2
        self._is_reserved = is_reserved
        self.kept = limit - len(self._mark) - 2 * _DIGEST_BYTES
        if allowed is None:
            self._others = re.compile(re.escape(escape))
        else:
            plain = "".join(map(re.escape, sorted(set(allowed) - {escape})))
            self._others = re.compile(f"[^{plain}]" if plain else ".", re.DOTALL)
        self._escaped = re.compile(f"{re.escape(escape)}([0-9a-f]{{2}})".encode())

    def encode(self, name: str) -> str:
        """Return the encoding of a name, which may be any valid Unicode."""
        encoded = name
        if self._others.search(name):
            encoded = self._others.sub(self._escape_match, name)
        if self._is_reserved is not None and self._is_reserved(encoded):
            ends = map(self._escape_text, (name[0], name[-1] if len(name) > 1 else ""))
            middle = self._others.sub(self._escape_match, name[1:-1])
            encoded = middle.join(ends)
        if len(encoded) * 4 <= self._limit or len(encoded.encode()) <= self._limit:
            return encoded
        return self._cut(encoded) + self._mark + _digest(name)

    def encode_all(self, names: Sequence[str]) -> list[str]:
        """Return the encodings of names, for a batch of ordinary ones in much less time."""
        if (
            len(names) == 1
            or self._is_reserved is not None
            or max(map(len, names), default=0) * 4 > self._limit
            or self._others.search("".join(names))
        ):
            return [self.encode(name) for name in names]
        return list(names)

    def decode(self, encoded: str) -> str | None:
        """Return the name that has this encoding.

        Returns None if the name was hashed, and for a text that encodes no name.
        """
        if self._escape not in encoded:
            # The same as below, without a second look.
            is_own = not self._others.search(encoded) and len(encoded) * 4 <= self._limit
            if is_own and self._is_reserved is None:
                return encoded
        if self.is_hashed(encoded):
            return None
        try:
            name = self._escaped.sub(_unescape_match, encoded.encode()).decode()
        except UnicodeError:  # not valid Unicode, before or after
            return None
        return name if self.encode(name) == encoded else None

    def is_hashed(self, encoded: str) -> bool:
        """Return True if an encoding has a hash, so that `decode` cannot return its name."""
        return self._mark in encoded

    def pack(self, encoded: str, name: str, data: bytes) -> bytes:
        """Return data to store under an encoding: with the name in front if it was hashed."""
        return frame(name, data) if self.is_hashed(encoded) else data

    def unpack(self, encoded: str, data: bytes) -> tuple[str, bytes]:
        """Return the name of an encoding, and the data that `pack` was called with.

        Raises:
            ValueError: The text encodes no name, or the data has another name in front, or none.
        """
        if not self.is_hashed(encoded):
            name = self.decode(encoded)
        else:
            name, data = unframe(data)
            if self.encode(name) != encoded:
                name = None
        if name is None:
            raise ValueError(f"{encoded!r} must encode the name that is kept with it")
        return name, data

    def _escape_match(self, match: re.Match[str]) -> str:
        return self._escape_text(match.group())

    def _escape_text(self, text: str) -> str:
        return "".join(f"{self._escape}{byte:02x}" for byte in text.encode())

    def _cut(self, encoded: str) -> str:
        """Return the beginning of an encoding, cut neither in a character nor in an escape."""
        start = encoded.encode()[: self.kept].decode(errors="ignore")
        escape = start.rfind(self._escape, len(start) - 2)
        return start if escape < 0 else start[:escape]


def frame(name: str, data: bytes) -> bytes:
    """Return data with a name in front: its length in 4 bytes, big-endian, and its UTF-8."""
    encoded = name.encode()
    return b"".join((len(encoded).to_bytes(_LENGTH_BYTES, "big"), encoded, data))


def unframe(framed: bytes) -> tuple[str, bytes]:
    """Return the name and the data that `frame` was called with.

    Raises:
        ValueError: The bytes are truncated, or have no name in front.
    """
    start = _LENGTH_BYTES + int.from_bytes(framed[:_LENGTH_BYTES], "big")
    if len(framed) < max(start, _LENGTH_BYTES):
        raise ValueError(f"expected a name of {start} bytes in front; got {len(framed)} bytes")
    return framed[_LENGTH_BYTES:start].decode(), framed[start:]


def _digest(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def _unescape_match(match: re.Match[bytes]) -> bytes:
    return bytes.fromhex(match.group(1).decode())
