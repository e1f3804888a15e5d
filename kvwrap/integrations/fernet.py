"""Fernet tokens, as `cryptography` makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection
from kvwrap.errors import ConfigurationError, DecryptionError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet, MultiFernet

    FernetKeys = Fernet | MultiFernet | str | bytes | Sequence[str | bytes]
else:
    FernetKeys = Any

# A token is base64 of bytes that begin with the version, 80, and a time of 8 bytes whose
# first four are zero until the year 2106.
_TOKEN = b"gAAAAA"
PLAIN = frozenset({b"", codec.JSON, codec.BYTES})
"""Codecs under which what another program wrote may come: raw, or through an adapter."""

_CODECS = {"json": codec.JSON, "bytes": codec.BYTES, "msgpack": codec.MSGPACK}


class FernetTokens:
    """Reads values that are a Fernet token, as bytes or as a JSON string.

    A token is bound to no name: one that was copied to another key opens there, until it has
    been rewritten.

    Args:
        keys: A `Fernet` or `MultiFernet`, or a key or several as `Fernet.generate_key` made
            them.
        content: What the tokens hold: "json" text, "msgpack", or plain "bytes".

    >>> from cryptography.fernet import Fernet
    >>> FernetTokens(Fernet(Fernet.generate_key()))
    FernetTokens(content='json')
    """

    authenticates = True

    def __init__(
        self, keys: FernetKeys, *, content: Literal["json", "msgpack", "bytes"] = "json"
    ) -> None:
        if content not in _CODECS:
            raise ConfigurationError(f"content is one of {', '.join(_CODECS)}, not {content!r}")
        self._opens = opener(keys)
        self._content = content
        self._codec = _CODECS[content]

    def read(self, entry: Entry, collection: Collection, key: str) -> Entry | None:
        if entry.codec not in PLAIN:
            return None
        body = entry.body
        token = body[1:-1] if body[:1] == body[-1:] == b'"' else body
        if not token.startswith(_TOKEN):
            return None
        return entry.with_body(self._opens(token, collection, key), self._codec)

    def __repr__(self) -> str:
        return f"FernetTokens(content={self._content!r})"


class opener:  # noqa: N801  # called as a function; a class only to keep keys out of a repr
    """Opens tokens with these keys, turning what goes wrong into `DecryptionError`."""

    def __init__(self, keys: FernetKeys) -> None:
        from cryptography.fernet import Fernet, InvalidToken, MultiFernet

        self._invalid = InvalidToken
        if isinstance(keys, Fernet | MultiFernet):
            self._decrypt = keys.decrypt
            return
        try:
            opened = [Fernet(key) for key in ((keys,) if isinstance(keys, str | bytes) else keys)]
        except (TypeError, ValueError):
            # From nothing, since the library's text is about the key.
            opened = []
        if not opened:
            raise ConfigurationError(
                "keys for Fernet tokens are what Fernet.generate_key() gives: 32 bytes in "
                "URL-safe base64"
            )
        self._decrypt = MultiFernet(opened).decrypt

    def __call__(self, token: bytes, collection: Collection, key: str) -> bytes:
        try:
            plain: bytes = self._decrypt(token)
        except self._invalid:
            raise DecryptionError(
                "the Fernet token does not open with the keys given: it was altered, or made "
                "with another key",
                collection=collection,
                key=key,
            ) from None
        return plain
