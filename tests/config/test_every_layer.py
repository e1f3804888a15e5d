"""Every layer can be configured and written as a configuration."""

from __future__ import annotations

import json

import pytest

from kvwrap import from_config, stack, to_config
from kvwrap.builder import LAYERS
from tests.config.helpers import SECRET, layer, refused

EVERY = {
    "chaos": {"seed": 1, "failure_rate": 0.5, "errors": ["StoreTimeout"]},
    "circuit_breaker": {"failures": 3, "open_for": 1.5},
    "clamp_ttl": {"maximum": 60},
    "coalesce": {},
    "compress": {"algorithm": "gzip", "level": 3},
    "default_value": {"value": {"a": [1]}, "ttl": 5},
    "encrypt": {
        "keyring": {"env": "TEST_KEYS"},
        "context": "tenant-7",
        "accept_contexts": ["tenant-6", "é"],
        "accept_plaintext": True,
        "seal": False,
    },
    "fallback": {"other": {"type": "memory", "max_entries": 5}, "writes": "both"},
    "hash_keys": {"secret": {"env": "TEST_LONG_SECRET"}, "collections": True},
    "limit_concurrency": {"limit": 5, "wait": 0.5},
    "limit_rate": {"operations": 5, "per": 2.0},
    "limit_size": {"max_size": 1000},
    "log": {"logger": "app", "level": "INFO"},
    "prefix_collection": {"prefix": "a-"},
    "prefix_key": {"prefix": "a-"},
    "read_only": {"on_write": "ignore"},
    "read_through": {
        "near": "memory://",
        "ttl": 30,
        "jitter": 0.1,
        "decoded": True,
        "coherence": "ttl",
        "bound": 2.0,
    },
    "replicate": {"replicas": ["memory://", "memory://"]},
    "retry": {"attempts": 2, "on": ["StoreTimeout"]},
    "route": {"routes": {"a*": "memory://"}, "by": "key"},
    "serialize": {"serializer": "msgpack"},
    "shadow": {"other": "memory://"},
    "shard": {"shards": {"b": "memory://"}, "name": "a"},
    "single_collection": {"collection": "all"},
    "slide_ttl": {"ttl": 60},
    "statistics": {"name": "s", "max_collections": 5},
    "tags": {"secret": {"env": "TEST_LONG_SECRET"}},
    "timeout": {"seconds": 1, "operations": {"read": 0.5}},
    "trace": {"keys": True, "db_system": "redis"},
    "validate": {"check": {"python": "tests.config.helpers:only"}},
    "write_behind": {"journal": "{folder}/journal", "max_pending": 10},
}


@pytest.fixture
def secrets(keys, monkeypatch):
    monkeypatch.setenv("TEST_LONG_SECRET", SECRET * 4)


def test_every_layer_is_in_the_table():
    assert set(EVERY) >= set(LAYERS)


@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
@pytest.mark.parametrize("name", sorted(LAYERS))
def test_every_layer_can_be_configured_and_written_back(name, secrets, tmp_path):
    options = json.loads(json.dumps(EVERY[name]).replace("{folder}", str(tmp_path)))
    table = {"store": "memory://", "layers": [{"type": name, **options}]}
    store = from_config(table, python=True)
    assert type(store.layers[0]) is LAYERS[name]
    assert to_config(store) == table
    assert SECRET not in store.explain()
    # Without what the configuration said of it, from its arguments alone.
    bare = store.layers[0].clone()
    bare.configured = None
    again = from_config({"store": "memory://", **to_config(stack(bare))}, python=True)
    assert to_config(stack(bare))["layers"][0]["type"] == name
    assert to_config(again)["layers"] == to_config(stack(bare))["layers"]


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_every_layer_refuses_an_unknown_option(name, secrets):
    assert "layers[0].no_such_option" in refused(layer(type=name, no_such_option=1))
