"""The contracts run over every layer and store."""

from __future__ import annotations

import kvwrap
from kvwrap import builder
from kvwrap.testing import ManualClock
from tests.catalog import EMBEDDED, LAYERS, STORES


def test_every_layer_is_in_the_catalog() -> None:
    # Passthrough has no builder method: `.layer()` adds it.
    assert set(LAYERS) == {*builder.LAYERS, "passthrough"}
    assert {name for name, case in LAYERS.items() if case.exempt} == {"read_only", "write_behind"}


def test_every_line_has_the_layer_of_its_name() -> None:
    for name in builder.LAYERS:
        classes = [type(layer) for layer in LAYERS[name].make(ManualClock())]
        assert builder.LAYERS[name] in classes, name


def test_every_store_is_in_the_catalog() -> None:
    stores = {
        name
        for name, thing in vars(kvwrap).items()
        if isinstance(thing, type) and issubclass(thing, kvwrap.Store) and thing is not kvwrap.Store
    }
    # NullStore stores nothing, and has its own tests.
    assert stores == {"MemoryStore", "NullStore", "RedisStore", "SQLiteStore"}
    assert {"memory", "redis", "sqlite", "dict", "py-key-value"} == set(STORES)
    assert set(EMBEDDED) < set(STORES)
