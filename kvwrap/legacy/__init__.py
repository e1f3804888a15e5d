"""Readers of what other libraries wrote, so that their users can move."""

from kvwrap.legacy.fernet import FernetTokens
from kvwrap.legacy.py_key_value import PyKeyValueCompression, PyKeyValueEncryption
from kvwrap.legacy.reader import LegacyReader

__all__ = ["FernetTokens", "LegacyReader", "PyKeyValueCompression", "PyKeyValueEncryption"]
