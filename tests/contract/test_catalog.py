"""The contracts run over everything that there is."""

from __future__ import annotations

import kvwrap
from kvwrap import builder
from kvwrap.testing import ManualClock
from tests.catalog import EMBEDDED, LAYERS, STORES


def test_every_layer_is_in_the_catalog() -> None:
    # Passthrough has no builder method of its own: it comes by `.layer()`.
    assert set(LAYERS) == {*builder.LAYERS, "passthrough"}
    assert {name for name, case in LAYERS.items() if case.exempt} == {"read_only", "write_behind"}


def test_every_line_is_the_layer_that_it_says() -> None:
    for name in builder.LAYERS:
        kinds = [type(layer) for layer in LAYERS[name].make(ManualClock())]
        assert builder.LAYERS[name] in kinds, name


def test_every_store_is_in_the_catalog() -> None:
    stores = {
        name
        for name, thing in vars(kvwrap).items()
        if isinstance(thing, type) and issubclass(thing, kvwrap.Store) and thing is not kvwrap.Store
    }
    # NullStore has tests of its own: it keeps nothing.
    assert stores == {"MemoryStore", "NullStore", "RedisStore", "SQLiteStore"}
    assert {"memory", "redis", "sqlite", "dict", "py-key-value"} == set(STORES)
    assert set(EMBEDDED) < set(STORES)
