"""Authenticated encryption with one named key, and its count of messages."""

from __future__ import annotations

import logging
import os
from typing import Any

from kvwrap.core import codec
from kvwrap.keyring.key import NONCE, SUITES, TAG, Key

_log = logging.getLogger("kvwrap.encryption")


class MessageCount:
    """Number of messages that this process has sealed with a key. Outlives the cipher."""

    __slots__ = ("messages",)

    def __init__(self) -> None:
        self.messages = 0


class Cipher:
    """Seals and opens messages with one named key.

    A sealed message is a nonce of 12 bytes, the ciphertext, and a tag of 16 bytes. Every
    nonce is drawn from the operating system for one message only. So neither a fork nor a
    restored snapshot of the process can repeat a nonce.

    Attributes:
        name: The key's name in its keyring.
        key: The key.
        step: The codec step of entries sealed with this key; their codec begins with it.
        count: The number of messages sealed so far.
        limit: The number of messages for which the algorithm is safe with one key.
    """

    __slots__ = ("_decrypt", "_encrypt", "_invalid", "count", "key", "limit", "name", "step")

    def __init__(self, name: str, key: Key, count: MessageCount | None = None) -> None:
        from cryptography.exceptions import InvalidTag

        self.name = name
        self.key = key
        self.step = key_step(name)
        self.count = count or MessageCount()
        self.limit = SUITES[key.algorithm].messages
        aead = key.aead()
        self._encrypt: Any = aead.encrypt
        self._decrypt: Any = aead.decrypt
        self._invalid = InvalidTag

    def seal(self, plain: bytes, associated_data: bytes) -> bytes:
        """Encrypt a message that opens only with this key and the same associated data.

        The message is counted. The caller enforces `limit`.

        Raises:
            OverflowError: The message is over 2 GiB.
        """
        count = self.count
        count.messages += 1
        if count.messages == self.limit // 2:
            _log.warning(
                "key %r has sealed half of its limit of %d messages: add a key and promote it",
                self.name,
                self.limit,
            )
        nonce = os.urandom(NONCE)
        sealed: bytes = nonce + self._encrypt(nonce, plain, associated_data)
        return sealed

    def open(self, sealed: bytes, associated_data: bytes) -> bytes | None:
        """Decrypt a message.

        Returns `None` if the message was altered, or the key or the associated data differ.
        """
        if len(sealed) < NONCE + TAG:
            return None
        try:
            plain: bytes = self._decrypt(sealed[:NONCE], sealed[NONCE:], associated_data)
        except self._invalid:
            return None
        return plain

    def __repr__(self) -> str:
        return f"Cipher({self.name!r})"


def key_step(name: str) -> bytes:
    """Return the codec step of entries sealed with the key of this name."""
    return codec.step(codec.ENCRYPTED, codec.fingerprint(name))
