"""Encryption keys: keyrings, key sources, rotation and envelope encryption."""

from kvwrap.keyring.envelope import EnvelopeKeyring, WrappedKey
from kvwrap.keyring.kek import KEK, KeyCalls, LocalKEK
from kvwrap.keyring.key import Key
from kvwrap.keyring.keyring import Keyring
from kvwrap.keyring.live import LiveKeyring
from kvwrap.keyring.source import KeySource

__all__ = [
    "KEK",
    "EnvelopeKeyring",
    "Key",
    "KeyCalls",
    "KeySource",
    "Keyring",
    "LiveKeyring",
    "LocalKEK",
    "WrappedKey",
]
