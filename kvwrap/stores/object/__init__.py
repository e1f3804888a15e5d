"""Entries as objects of S3 or of Azure's blob storage."""

from kvwrap.stores.object.store import ObjectStore

__all__ = ["ObjectStore"]
