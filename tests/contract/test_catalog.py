"""The contracts run over every layer and store."""

from __future__ import annotations

import inspect

import pytest

import kvwrap
from kvwrap import builder
from kvwrap.core import registry
from kvwrap.core.primitives import PRIMITIVES, Primitives
from kvwrap.core.registry import store_class
from kvwrap.testing import ManualClock
from tests.catalog import EMBEDDED, LAYERS, STORES, UNDER_EVERY_LAYER


def test_every_layer_is_in_the_catalog() -> None:
    # Passthrough has no builder method: `.layer()` adds it.
    assert set(LAYERS) == {*builder.LAYERS, "passthrough"}
    assert {name for name, case in LAYERS.items() if case.exempt} == {"read_only", "write_behind"}


def test_every_line_has_the_layer_of_its_name() -> None:
    for name in builder.LAYERS:
        classes = [type(layer) for layer in LAYERS[name].make(ManualClock())]
        assert builder.LAYERS[name] in classes, name


def test_every_store_is_in_the_catalog() -> None:
    public = {
        thing
        for thing in (getattr(kvwrap, name) for name in kvwrap.__all__)
        if isinstance(thing, type) and issubclass(thing, kvwrap.Store) and thing is not kvwrap.Store
    }
    by_scheme = {scheme: store_class(scheme) for scheme in registry.STORES}
    tested = {by_scheme[name] for name in STORES if name in by_scheme}
    # NullStore stores nothing, and has its own tests.
    assert tested == public - {kvwrap.NullStore} == set(by_scheme.values()) - {kvwrap.NullStore}
    assert {"dict", "py-key-value"} < set(STORES)
    assert set(EMBEDDED) < set(STORES)
    assert set(UNDER_EVERY_LAYER) <= set(STORES)


@pytest.mark.parametrize(
    "cls",
    [
        *builder.LAYERS.values(),
        *dict.fromkeys(store_class(scheme) for scheme in registry.STORES),
    ],
    ids=lambda cls: cls.__name__,
)
def test_primitives_are_called_as_the_interface_says(cls: type[Primitives]) -> None:
    for name in PRIMITIVES:
        expected, found = (
            [(each.name, each.kind, each.default) for each in list(parameters.values())[1:]]
            for parameters in (
                inspect.signature(getattr(owner, name)).parameters for owner in (Primitives, cls)
            )
        )
        assert found == expected, name
