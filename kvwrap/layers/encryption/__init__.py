"""Encryption: a layer that seals values under keys of a keyring."""

from kvwrap.layers.encryption.layer import Encryption

__all__ = ["Encryption"]
