from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from kvwrap import ConfigurationError, MemoryStore, adapt
from kvwrap.builder import LAYERS
from kvwrap.core import registry
from kvwrap.core.layer import Layer
from kvwrap.core.store import Store


@pytest.mark.parametrize("scheme", registry.STORES)
def test_every_scheme_leads_to_a_store(scheme: str) -> None:
    assert issubclass(registry.store_class(scheme), Store)


@pytest.mark.parametrize("name", LAYERS)
def test_every_name_leads_to_a_layer(name: str) -> None:
    assert issubclass(registry.layer_class(name, LAYERS), Layer)


@pytest.mark.parametrize(
    ("name", "suggestion"), [("clamp_tll", "'clamp_ttl'"), ("prefix_colection", "prefix_coll")]
)
def test_the_nearest_right_name_is_suggested(name: str, suggestion: str) -> None:
    with pytest.raises(ConfigurationError, match=f"did you mean .*{suggestion}"):
        registry.layer_class(name, LAYERS)


def test_without_a_near_name_all_are_told() -> None:
    with pytest.raises(ConfigurationError, match=r"there is .*memory.*sqlite"):
        registry.store_class("gopher")


def test_stores_and_layers_of_other_packages_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def entry_points(*, group: str) -> list[EntryPoint]:
        return {
            "kvwrap.stores": [EntryPoint("ours", "kvwrap.stores.null:NullStore", group)],
            "kvwrap.layers": [EntryPoint("own", "kvwrap.layers.passthrough:Passthrough", group)],
        }[group]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    assert registry.store_class("ours").__name__ == "NullStore"
    assert registry.layer_class("own", LAYERS).__name__ == "Passthrough"
    with pytest.raises(ConfigurationError, match="'own'"):
        registry.layer_class("owm", LAYERS)


def test_adapting_a_store_gives_the_store() -> None:
    store = MemoryStore()
    assert adapt(store) is store


@pytest.mark.parametrize(
    "thing", [None, 5, "redis://", object(), [1]], ids=lambda thing: type(thing).__name__
)
def test_what_nothing_can_be_kept_in_is_refused(thing: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"{type(thing).__name__}: it takes .*mappings"):
        adapt(thing)
