"""Writing a store or stack as a configuration."""

from __future__ import annotations

from datetime import timedelta

import pytest

import kvwrap
from kvwrap import (
    ConfigurationError,
    FileTreeStore,
    Keyring,
    LMDBStore,
    MemoryStore,
    SQLiteStore,
    StoreUnavailable,
    from_config,
    stack,
    store_from_url,
    to_config,
)
from kvwrap.core.serializer import MsgpackSerializer
from kvwrap.testing import ManualClock
from tests.config.helpers import SECRET, only


def test_arguments_named_as_secrets_are_written_only_by_reference(monkeypatch):
    monkeypatch.setenv("TEST_SECRET", SECRET)
    table = {"store": {"type": "redis", "host": "h", "password": {"env": "TEST_SECRET"}}}
    store = from_config(table)
    assert SECRET not in repr(store) + store.explain()
    assert to_config(store) == table
    table["store"]["password"] = SECRET
    store = from_config(table)
    assert SECRET not in repr(store) + store.explain()
    with pytest.raises(ConfigurationError, match=r"store\.password.*env") as caught:
        to_config(store)
    assert SECRET not in str(caught.value)


def test_a_configuration_is_written_unchanged(keys, monkeypatch):
    monkeypatch.setenv("TEST_URL", "memory://")
    table = {
        "store": {"url": {"env": "TEST_URL"}},
        "layers": [
            {"type": "statistics"},
            {"type": "read_through", "near": {"env": "TEST_URL"}, "ttl": 5},
            {"type": "encrypt", "keyring": {"env": "TEST_KEYS"}},
            {"type": "retry", "on": ["StoreTimeout"], "attempts": 2},
        ],
        "silence": ["log-of-values", "retry-twice"],
    }
    assert to_config(from_config(table)) == table
    assert to_config(from_config(to_config(from_config(table)))) == table


def test_a_serializer_of_kvwrap_is_written_by_its_name():
    store = MemoryStore(serializer=MsgpackSerializer())
    assert to_config(store) == {"store": {"type": "memory", "serializer": "msgpack"}}


def test_a_serializer_created_in_code_is_refused():
    class Own(MsgpackSerializer):
        name = "own"

    with pytest.raises(ConfigurationError, match="cannot express this Own, which was created"):
        to_config(MemoryStore(serializer=Own()))


def test_a_stack_built_in_code_is_written(keys, tmp_path):
    built = (
        stack()
        .statistics(name="s")
        .read_through(MemoryStore(max_entries=5), ttl=timedelta(minutes=1))
        .clamp_ttl(maximum=60, default=None)
        .encrypt(Keyring.from_env("TEST_KEYS"))
        .retry(on=(StoreUnavailable, TimeoutError))
        .validate(only)
        .silence("retry-twice")
        .over(store_from_url(f"sqlite:///{tmp_path}/x.db"))
    )
    table = to_config(built)
    assert table == {
        "store": f"sqlite:///{tmp_path}/x.db",
        "layers": [
            {"type": "statistics", "name": "s"},
            {"type": "read_through", "near": {"type": "memory", "max_entries": 5}, "ttl": 60},
            {"type": "clamp_ttl", "maximum": 60},
            {"type": "encrypt", "keyring": {"env": "TEST_KEYS"}},
            {"type": "retry", "on": ["StoreUnavailable", "TimeoutError"]},
            {"type": "validate", "check": {"python": "tests.config.helpers:only"}},
        ],
        "silence": ["retry-twice"],
    }
    again = from_config(table, python=True)
    assert to_config(again) == table
    assert [type(part) for part in again.layers] == [type(part) for part in built.layers]


def test_bytes_are_written_as_text_if_they_are_text(keys):
    built = stack().encrypt(Keyring.from_env("TEST_KEYS"), context="é".encode())
    assert to_config(built)["layers"][0]["context"] == "é"
    with pytest.raises(ConfigurationError, match=r"layers\[0\]\.context: .* not UTF-8"):
        to_config(stack().encrypt(Keyring.from_env("TEST_KEYS"), context=b"\xff"))


@pytest.mark.parametrize("kind", [SQLiteStore, FileTreeStore, LMDBStore])
def test_a_path_is_written_as_text(kind, tmp_path):
    config = to_config(kind(tmp_path / "a"))
    assert str(tmp_path / "a") in config["store"].values()
    assert from_config(config).location == kind(tmp_path / "a").location


def test_a_factory_is_written_as_the_store_it_creates():
    built = stack().read_through(MemoryStore).over(MemoryStore())
    assert to_config(built)["layers"][0]["near"] == {"type": "memory"}
    built = stack().read_through(lambda: MemoryStore(max_entries=3)).over(MemoryStore())
    assert to_config(built)["layers"][0]["near"] == {"type": "memory", "max_entries": 3}


def test_layers_added_in_code_are_written_with_those_of_the_configuration():
    inner = from_config({"store": "memory://", "layers": ["statistics"]})
    outer = stack().clamp_ttl(maximum=5).over(inner)
    assert to_config(outer) == {
        "store": "memory://",
        "layers": [{"type": "clamp_ttl", "maximum": 5}, {"type": "statistics"}],
    }


def test_a_table_that_only_looks_like_a_reference_is_a_value():
    layer = {"type": "default_value", "value": {"fill": "x"}}
    assert to_config(from_config({"store": "memory://", "layers": [layer]}))["layers"] == [layer]


class Unknown(kvwrap.Passthrough):
    pass


@pytest.mark.parametrize(
    ("built", "said"),
    [
        (lambda: stack(Unknown()).over(MemoryStore()), r"layers\[0\].*Unknown"),
        (lambda: MemoryStore(clock=ManualClock()), r"store.clock.*ManualClock"),
        (lambda: stack().validate(lambda *_: True).over(MemoryStore()), r"layers\[0\].check"),
        (lambda: stack().encrypt(Keyring.generate()).over(MemoryStore()), r"layers\[0\].keyring"),
        (lambda: kvwrap.adapt({}), "store"),
    ],
)
def test_an_object_that_a_configuration_cannot_express_is_refused(built, said):
    with pytest.raises(ConfigurationError, match=said):
        to_config(built())
