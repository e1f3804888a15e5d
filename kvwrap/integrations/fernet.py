"""Values that are Fernet tokens, the format of `cryptography.fernet`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection
from kvwrap.core.validation import suggest
from kvwrap.errors import ConfigurationError, DecryptionError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet, MultiFernet

    FernetKeys = Fernet | MultiFernet | str | bytes | Sequence[str | bytes]
else:
    FernetKeys = Any

# A token is base64 of bytes that begin with the version, 80, and a time of 8 bytes whose
# first four are zero until the year 2106.
_TOKEN = b"gAAAAA"
FOREIGN_CODECS = frozenset({b"", codec.JSON, codec.BYTES})
"""Codecs that another program's values can have: raw, or through an adapter."""

_CODECS = {"json": codec.JSON, "bytes": codec.BYTES, "msgpack": codec.MSGPACK}


class FernetTokens:
    """Reads values that are a Fernet token, as bytes or as a JSON string.

    A token is not bound to a name. A token that was copied to another key opens there, until
    it has been rewritten.

    Args:
        keys: A `Fernet` or `MultiFernet`, or one or several keys in the form that
            `Fernet.generate_key` returns.
        content: The content of the tokens: "json" text, "msgpack", or plain "bytes".

    >>> from cryptography.fernet import Fernet
    >>> FernetTokens(Fernet(Fernet.generate_key()))
    FernetTokens(content='json')
    """

    authenticates = True

    def __init__(
        self, keys: FernetKeys, *, content: Literal["json", "msgpack", "bytes"] = "json"
    ) -> None:
        if content not in _CODECS:
            raise ConfigurationError(
                f"`content` must be one of {', '.join(map(repr, _CODECS))}; got {content!r}: "
                f"{suggest(str(content), _CODECS)}"
            )
        self._opener = TokenOpener(keys)
        self._content = content
        self._codec = _CODECS[content]

    def read(
        self, entry: Entry, collection: Collection, key: str, *, limit: int | None = None
    ) -> Entry | None:
        front, steps = codec.split_annotations(entry.codec)
        if steps not in FOREIGN_CODECS:
            return None
        body = entry.body
        token = body[1:-1] if body[:1] == body[-1:] == b'"' else body
        if not token.startswith(_TOKEN):
            return None
        return entry.with_body(self._opener.open(token, collection, key), front + self._codec)

    def __repr__(self) -> str:
        return f"FernetTokens(content={self._content!r})"


class TokenOpener:
    """Opens tokens with these keys, and raises `DecryptionError` for those that do not open."""

    def __init__(self, keys: FernetKeys) -> None:
        from cryptography.fernet import Fernet, InvalidToken, MultiFernet

        self._invalid = InvalidToken
        if isinstance(keys, Fernet | MultiFernet):
            self._decrypt = keys.decrypt
            return
        try:
            ciphers = [Fernet(key) for key in ((keys,) if isinstance(keys, str | bytes) else keys)]
        except (TypeError, ValueError):
            # Without a cause: the library's error is about the key.
            ciphers = []
        if not ciphers:
            raise ConfigurationError(
                "`keys` must be one or several Fernet keys, each 32 bytes in URL-safe base64; got "
                f"{type(keys).__name__} that is empty or invalid: create a key with "
                "Fernet.generate_key()"
            )
        self._decrypt = MultiFernet(ciphers).decrypt

    def open(self, token: bytes, collection: Collection, key: str) -> bytes:
        """Decrypt a token. The names are for the error.

        Raises:
            DecryptionError: The token was altered, or made with another key.
        """
        try:
            plain: bytes = self._decrypt(token)
        except self._invalid:
            raise DecryptionError(
                "the Fernet token does not open with these keys: it was altered, or made with "
                "another key",
                collection=collection,
                key=key,
            ) from None
        return plain
