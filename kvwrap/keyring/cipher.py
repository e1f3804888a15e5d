"""A key at work under its name, and how many messages it has sealed."""

from __future__ import annotations

import logging
import os
from typing import Any

from kvwrap.core import codec
from kvwrap.keyring.key import NONCE, SUITES, TAG, Key

_log = logging.getLogger("kvwrap.encryption")


class Count:
    """How many messages were sealed with a key in this process; outlives the cipher."""

    __slots__ = ("messages",)

    def __init__(self) -> None:
        self.messages = 0


class Cipher:
    """Seals and opens with one key, which has a name.

    A sealed message is a nonce of 12 bytes, the ciphertext, and a tag of 16 bytes. Every
    nonce is drawn from the operating system for that message alone, so neither a fork nor a
    restored snapshot of the process can bring one back.

    Attributes:
        name: The key's name in its keyring.
        key: The key.
        step: What the codec of an entry sealed with it begins with.
        count: How many messages it has sealed.
        limit: How many its algorithm is good for.
    """

    __slots__ = ("_decrypt", "_encrypt", "_invalid", "count", "key", "limit", "name", "step")

    def __init__(self, name: str, key: Key, count: Count | None = None) -> None:
        from cryptography.exceptions import InvalidTag

        self.name = name
        self.key = key
        self.step = step_of(name)
        self.count = count or Count()
        self.limit = SUITES[key.algorithm].messages
        aead = key.aead()
        self._encrypt: Any = aead.encrypt
        self._decrypt: Any = aead.decrypt
        self._invalid = InvalidTag

    def seal(self, plain: bytes, bound: bytes) -> bytes:
        """The message that opens only with this key and with `bound` beside it.

        It counts, and whoever calls it keeps to `limit`.

        Raises:
            OverflowError: The message is over 2 GiB.
        """
        count = self.count
        count.messages += 1
        if count.messages == self.limit // 2:
            _log.warning(
                "key %r has sealed half of the %d messages that it is good for: promote another",
                self.name,
                self.limit,
            )
        nonce = os.urandom(NONCE)
        sealed: bytes = nonce + self._encrypt(nonce, plain, bound)
        return sealed

    def open(self, sealed: bytes, bound: bytes) -> bytes | None:
        """What was sealed, or `None` if the message, the key or `bound` is another."""
        if len(sealed) < NONCE + TAG:
            return None
        try:
            plain: bytes = self._decrypt(sealed[:NONCE], sealed[NONCE:], bound)
        except self._invalid:
            return None
        return plain

    def __repr__(self) -> str:
        return f"Cipher({self.name!r})"


def step_of(name: str) -> bytes:
    """The codec's step for entries sealed with the key of this name."""
    return codec.step(codec.ENCRYPTED, codec.fingerprint(name))
