"""The tests that `make test-fast` leaves out besides those that need a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stores.adapted.objects import FORMS, OBJECTS

TESTS = Path(__file__).parent
SLOW = frozenset(
    {
        # Every order of steps, and long random histories.
        "layers/read_through/test_interleavings.py",
        "layers/read_through/test_processes.py",
        "layers/replication/test_interleavings.py",
        "layers/sharding/test_interleavings.py",
        "stacks/test_concurrency.py",
        "stacks/test_hostile_bytes.py",
        "stacks/test_model.py",
        # Several processes, and pytest in a process of its own.
        "layers/replication/test_processes.py",
        "layers/sharding/test_processes.py",
        "stacks/test_lock_processes.py",
        "stacks/test_processes.py",
        "stores/file_tree/test_processes.py",
        "stores/lmdb/test_processes.py",
        "stores/sqlite/test_turnstile.py",
        "testing/test_plugin.py",
        "testing/test_server_marker.py",
        # What `make check` runs too.
        "docs/test_language.py",
        "docs/test_reference.py",
        "test_structure.py",
    }
)
"""Modules of tests that `make test-fast` leaves out, since each takes several seconds."""


def is_slow(item: pytest.Item) -> bool:
    """Tell whether `make test-fast` leaves out a test: of a slow module, or of the contracts.

    The contract of layers over memory stays, and that of stores over kvwrap's own and one
    adapted object for each form of entries.
    """
    if not item.path.is_relative_to(TESTS):
        return False
    name = str(item.path.relative_to(TESTS))
    if name.startswith("contract/") and hasattr(item, "callspec"):
        parameters = item.callspec.params
        if name == "contract/test_layers.py":
            return parameters.get("store_name") != "memory"
        texts = {value for value in parameters.values() if isinstance(value, str)}
        return not texts.isdisjoint(OBJECTS.keys() - FORMS)
    return name in SLOW
