"""Authenticated encryption with one named key, and the count of its messages in this process."""

from __future__ import annotations

import logging
import os
from hmac import compare_digest
from typing import Any

from kvwrap.core import codec
from kvwrap.keyring.key import COMMITMENT, NONCE, SUITES, TAG, Key

_log = logging.getLogger("kvwrap.encryption")

_NONCE_END = COMMITMENT + NONCE
_SHORTEST = _NONCE_END + TAG
_LARGE = 64 * 1024


class MessageCount:
    """Number of messages that this process has sealed with a key."""

    __slots__ = ("messages",)

    def __init__(self) -> None:
        self.messages = 0


_counts: dict[bytes, MessageCount] = {}
"""The counts by the digest of the key (`Key.digest`): the only global state of kvwrap.

The limit of messages holds for the key's bytes, so all keyrings, layers and threads with the
same bytes share one count. A count stays for as long as the process: one that was dropped
with its last cipher would begin at zero when the key is loaded or unwrapped again. A forked
child continues from its parent's counts.
"""


class Cipher:
    """Seals and opens messages with one named key.

    A sealed message is the commitment to the key, 16 bytes; a nonce, 12 bytes; the ciphertext;
    and a tag, 16 bytes. Every nonce is drawn from the operating system for one message only.
    So neither a fork nor a restored snapshot of the process can repeat a nonce.

    Attributes:
        name: The key's name in its keyring.
        key: The key.
        step: The codec step of entries sealed with this key; their codec begins with it.
        commitment: The bytes that every message sealed with this key begins with.
        count: The number of messages sealed so far, shared by all ciphers of the same key.
        limit: The number of messages for which the algorithm is safe with one key.
    """

    __slots__ = (
        "_decrypt",
        "_encrypt",
        "_invalid",
        "commitment",
        "count",
        "key",
        "limit",
        "name",
        "step",
    )

    def __init__(self, name: str, key: Key) -> None:
        from cryptography.exceptions import InvalidTag

        self.name = name
        self.key = key
        self.step = key_step(name)
        self.commitment = key.commitment()
        self.count = _counts.setdefault(key.digest(), MessageCount())
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
        self.count_message()
        return self.seal_counted(plain, associated_data)

    def count_message(self) -> None:
        """Count a message before `seal_counted` encrypts it, which may be in another thread."""
        count = self.count
        count.messages += 1
        if count.messages == self.limit // 2:
            _log.warning(
                "key %r has sealed half of its limit of %d messages: add a key and promote it",
                self.name,
                self.limit,
            )

    def seal_counted(self, plain: bytes, associated_data: bytes) -> bytes:
        """Encrypt a message that was counted, as `seal` does."""
        nonce = os.urandom(NONCE)
        return b"".join((self.commitment, nonce, self._encrypt(nonce, plain, associated_data)))

    def committed(self, sealed: bytes) -> bool:
        """Return True if a message begins with the commitment to this key."""
        return compare_digest(sealed[:COMMITMENT], self.commitment)

    def open(self, sealed: bytes, associated_data: bytes) -> bytes | None:
        """Decrypt a message.

        Returns `None` if the message was altered, or the key or the associated data differ.
        """
        if not compare_digest(sealed[:COMMITMENT], self.commitment) or len(sealed) < _SHORTEST:
            return None
        nonce = sealed[COMMITMENT:_NONCE_END]
        # For a small message, a copy takes less time than a view.
        message = sealed if len(sealed) < _LARGE else memoryview(sealed)
        try:
            plain: bytes = self._decrypt(nonce, message[_NONCE_END:], associated_data)
        except self._invalid:
            return None
        return plain

    def __repr__(self) -> str:
        return f"Cipher({self.name!r})"


def key_step(name: str) -> bytes:
    """Return the codec step of entries sealed with the key of this name."""
    return codec.step(codec.ENCRYPTED, codec.fingerprint(name))
