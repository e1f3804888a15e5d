"""Stores that hold values of other programs."""

from __future__ import annotations

from cryptography.fernet import Fernet

from kvwrap import Keyring, MemoryStore
from kvwrap.core import codec
from kvwrap.core.entry import Entry

RING = Keyring({"k": b"k" * 32})
FERNET = Fernet(Fernet.generate_key())


async def store_holding(body: bytes, steps: bytes = codec.JSON, key: str = "k") -> MemoryStore:
    backend = MemoryStore()
    await backend.write(None, [key], [Entry(body, steps, 0.0, None, 1)])
    return backend
