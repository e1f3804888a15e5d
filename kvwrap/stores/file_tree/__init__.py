"""FileTreeStore: a folder for each collection, and a file for each key."""

from kvwrap.stores.file_tree.store import FileTreeStore

__all__ = ["FileTreeStore"]
