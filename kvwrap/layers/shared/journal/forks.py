"""Connections to SQLite in a forked child, which must neither use nor close them.

Closing such a connection in the child would delete the write-ahead log of the parent, and
with it what the parent commits afterwards.
"""

from __future__ import annotations

import os
import sqlite3
import weakref

_connections: weakref.WeakKeyDictionary[object, sqlite3.Connection] = weakref.WeakKeyDictionary()


def keep_in_children(owner: object, connection: sqlite3.Connection) -> None:
    """Keep the owner's connection open in every child that is forked, until the child ends."""
    _connections[owner] = connection


def _keep() -> None:
    # Not before: few programs fork.
    from ctypes import py_object, pythonapi

    for connection in _connections.values():
        # A reference that nothing gives back, so that not even the end of the interpreter closes.
        pythonapi.Py_IncRef(py_object(connection))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep)
