"""The registry: finding stores, layers and adapters by name, and what is no store."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from kvwrap import ConfigurationError, MemoryStore, Passthrough, Statistics, adapt, stack
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
def test_the_most_similar_name_is_suggested(name: str, suggestion: str) -> None:
    with pytest.raises(ConfigurationError, match=f"did you mean .*{suggestion}"):
        registry.layer_class(name, LAYERS)


def test_without_a_similar_name_all_are_listed() -> None:
    with pytest.raises(ConfigurationError, match=r"choose from .*memory.*sqlite"):
        registry.store_class("zzz")


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


def test_adapting_a_store_returns_the_store() -> None:
    store = MemoryStore()
    assert adapt(store) is store


@pytest.mark.parametrize("obj", [None, 5, object(), [1]], ids=lambda obj: type(obj).__name__)
def test_an_object_without_an_adapter_is_refused(obj: Any) -> None:
    with pytest.raises(
        ConfigurationError,
        match=rf"expected a store, got {type(obj).__name__}: it must be .*mutable mapping",
    ):
        adapt(obj)


def open_store() -> MemoryStore:
    return MemoryStore()


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (MemoryStore, "the class MemoryStore: did you mean MemoryStore()?"),
        (dict, "the class dict: did you mean dict()?"),
        (open_store, "a function: call it, and pass the store that it returns"),
        ("redis://ada:hunter2@host/0", "a str: for a URL, use store_from_url('redis://...')"),
        ("hunter2://host", "a str: for a URL, use store_from_url('sqlite:///app.db')"),
        ("app.db", "a str: for a URL, use store_from_url('sqlite:///app.db')"),
        (Path("app.db"), "use SQLiteStore(path)"),
        (redis.asyncio.Redis(), "redis.asyncio.client.Redis: use RedisStore(client=...)"),
        (redis.Redis(), "redis.client.Redis: use RedisStore(client=redis.asyncio.Redis(...))"),
        (stack().statistics(), "a Stack: put it over a store first, with .over(MemoryStore())"),
        (Statistics(), "a Statistics: put it over a store first, with .over(MemoryStore())"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_message_says_what_to_use_instead(obj: Any, message: str) -> None:
    for use in (adapt, stack().over, Passthrough().over):
        with pytest.raises(ConfigurationError) as raised:
            use(obj)
        assert message in str(raised.value)
        assert str(raised.value).startswith("expected a store, got ")
        assert "hunter2" not in str(raised.value)


def test_a_second_store_must_be_a_store_or_a_factory() -> None:
    for source in ("redis://ada:hunter2@host/0", redis.asyncio.Redis()):
        with pytest.raises(
            ConfigurationError, match=r"`near` must be a store, or a factory of one: .* use "
        ) as raised:
            stack().read_through(source)
        assert "hunter2" not in str(raised.value)


def test_options_are_for_adapted_objects_only() -> None:
    with pytest.raises(ConfigurationError, match="MemoryStore, which is a store: pass them to its"):
        adapt(MemoryStore(), raw=True)
