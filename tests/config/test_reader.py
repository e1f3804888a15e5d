"""Stacks read from configurations, and written back."""

from __future__ import annotations

import json
import traceback
import warnings
from datetime import timedelta

import pytest

import kvwrap
from kvwrap import (
    ConfigurationError,
    Encryption,
    Keyring,
    MemoryStore,
    Stack,
    StackWarning,
    Statistics,
    StoreUnavailable,
    TTLClamp,
    from_config,
    stack,
    stack_from_config,
    store_from_url,
    to_config,
)
from kvwrap.core.registry import LAYERS, layer_class
from kvwrap.testing import ManualClock

SECRET = "hunter2-and-more"


@pytest.fixture
def keys(monkeypatch):
    monkeypatch.setenv("TEST_KEYS", Keyring.generate("k1").reveal_text())


def refused(source, **options):
    with pytest.raises(ConfigurationError) as caught:
        from_config(source, **options)
    whole = "".join(traceback.format_exception(caught.value))
    assert SECRET not in whole
    return str(caught.value)


def layer(**options):
    return {"store": "memory://", "layers": [options]}


# -- reading -------------------------------------------------------------------------------


async def test_a_toml_file(tmp_path, keys):
    path = tmp_path / "stack.toml"
    path.write_text(
        """
        store = "memory://"
        silence = ["some-code"]

        [[layers]]
        type = "statistics"
        name = "sessions"

        [[layers]]
        type = "clamp_ttl"
        minimum = 60
        maximum = 86_400
        jitter = 0.1

        [[layers]]
        type = "encrypt"
        keyring = { env = "TEST_KEYS" }
        """
    )
    store = from_config(path)
    assert [type(part) for part in store.layers] == [Statistics, TTLClamp, Encryption]
    assert store.find(TTLClamp).maximum == 86_400
    assert store.silenced == {"some-code"}
    await store.put("a", {"b": 1})
    assert await store.get("a") == {"b": 1}
    assert from_config(str(path)).explain() == store.explain()


def test_nothing_is_opened_and_a_store_alone_will_do():
    store = from_config({"store": {"type": "memory", "max_entries": 3}})
    assert isinstance(store, MemoryStore)
    assert not store.is_open


def test_a_layer_without_options_may_be_its_name():
    assert from_config({"store": "memory://", "layers": ["statistics"]}).find(Statistics)


async def test_second_stores_are_stores_with_layers_of_their_own():
    store = from_config(
        {
            "store": "memory://",
            "layers": [
                {
                    "type": "read_through",
                    "ttl": 30,
                    "near": {
                        "store": {"type": "memory", "max_entries": 10},
                        "layers": [{"type": "statistics", "name": "near"}],
                    },
                }
            ],
        }
    )
    await store.put("a", 1)
    await store.get("a")
    await store.get("a")
    assert store.find(Statistics).snapshot().reads.hits == 1


async def test_second_stores_in_tables_and_arrays():
    store = from_config(
        {
            "store": "memory://",
            "layers": [
                {"type": "route", "routes": {"logs": "memory://", "x-*": {"type": "memory"}}},
                {"type": "shard", "shards": ["memory://", {"url": "memory://"}]},
            ],
        }
    )
    await store.put("a", 1, collection="logs")
    assert await store.get("a", collection="logs") == 1
    assert len(store.layers[0].second_stores) == len(store.layers[1].second_stores) == 2


async def test_a_stack_from_a_configuration_goes_over_many_stores():
    table = {"layers": [{"type": "read_through", "near": "memory://"}]}
    recipe = stack_from_config(table)
    assert isinstance(recipe, Stack)
    one, two = recipe.over(MemoryStore()), recipe.over(MemoryStore())
    await one.put("a", 1)
    assert await two.get("a") is None
    assert to_config(recipe) == table


def test_options_of_many_kinds():
    store = from_config(
        layer(
            type="retry",
            attempts=2,
            on=["StoreTimeout", "ConnectionError"],
            wait=1,
            limit=None,
        )
    )
    assert store.layers[0].on == (kvwrap.StoreTimeout, ConnectionError)
    assert store.layers[0].limit is None
    from_config(layer(type="timeout", seconds=1, operations={"read": 0.5, "write": None}))
    from_config(layer(type="chaos", delay=[0.1, 0.2], operations=["read"]))
    from_config({"store": {"type": "memory", "serializer": "msgpack"}})


def test_known_mistakes_warn_and_are_silenced():
    table = layer(type="retry") | {"layers": ["retry", "retry"]}
    with pytest.warns(StackWarning, match="retry-twice") as caught:
        from_config(table)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_config(table | {"silence": ["retry-twice"]})


# -- references ----------------------------------------------------------------------------


def test_a_url_may_be_referred_to(monkeypatch, tmp_path):
    monkeypatch.setenv("TEST_URL", "memory://")
    assert isinstance(from_config({"store": {"env": "TEST_URL"}}), MemoryStore)
    assert isinstance(from_config({"store": {"url": {"env": "TEST_URL"}}}), MemoryStore)
    (tmp_path / "url").write_text("memory://\n")
    assert isinstance(from_config({"store": {"file": str(tmp_path / "url")}}), MemoryStore)


def test_numbers_and_switches_may_be_referred_to(monkeypatch):
    monkeypatch.setenv("TEST_MAX", "7")
    monkeypatch.setenv("TEST_TTL", "2.5")
    monkeypatch.setenv("TEST_YES", "true")
    store = from_config(
        {
            "store": "memory://",
            "layers": [
                {"type": "statistics", "max_collections": {"env": "TEST_MAX"}},
                {"type": "clamp_ttl", "maximum": {"env": "TEST_TTL"}},
                {"type": "trace", "keys": {"env": "TEST_YES"}},
            ],
        }
    )
    assert store.find(Statistics).max_collections == 7
    assert store.find(TTLClamp).maximum == 2.5
    text = refused(layer(type="statistics", max_collections={"env": "TEST_YES"}))
    assert "layers[0].max_collections" in text


def test_references_that_lead_nowhere(monkeypatch, tmp_path):
    monkeypatch.delenv("TEST_NONE", raising=False)
    text = refused(layer(type="prefix_collection", prefix={"env": "TEST_NONE"}))
    assert "layers[0].prefix" in text
    assert "TEST_NONE" in text
    missing = str(tmp_path / "missing")
    assert missing in refused(layer(type="prefix_collection", prefix={"file": missing}))
    assert "TEST_NONE" in refused(layer(type="encrypt", keyring={"env": "TEST_NONE"}))
    assert "TEST_NONE" in refused({"store": {"env": "TEST_NONE"}})
    assert "string" in refused({"store": {"env": 3}})


def test_what_references_lead_to_is_never_shown(monkeypatch):
    monkeypatch.setenv("TEST_SECRET", SECRET)
    monkeypatch.setenv("TEST_URL", f"{SECRET}://user:{SECRET}@host/1")
    monkeypatch.setenv("TEST_BAD", f"redis://user:{SECRET}@host:port/x?{SECRET}=1")
    refused({"store": {"env": "TEST_SECRET"}})
    refused({"store": {"env": "TEST_URL"}})
    refused({"store": {"env": "TEST_BAD"}})
    refused({"store": {"url": {"env": "TEST_BAD"}}})
    refused({"store": {"type": "redis", "url": {"env": "TEST_BAD"}}})
    refused(layer(type="encrypt", keyring={"env": "TEST_SECRET"}))
    refused(layer(type="log", level={"env": "TEST_SECRET"}))
    refused(layer(type="read_through", near={"env": "TEST_URL"}))
    store = from_config(layer(type="prefix_collection", prefix={"env": "TEST_SECRET"}))
    for text in (repr(store), store.explain(), repr(to_config(store))):
        assert SECRET not in text
        assert "TEST_SECRET" in text


def test_keys_are_never_written_in_a_configuration():
    text = refused(layer(type="encrypt", keyring="k1:" + "A" * 43 + "="))
    assert "{env" in text
    assert "AAAA" not in text


def only(value, key, collection):
    return isinstance(value, int)


async def test_code_is_referred_to_only_where_that_is_allowed():
    table = layer(type="validate", check={"python": f"{__name__}:only"})
    assert "python=True" in refused(table)
    store = from_config(table, python=True)
    with pytest.raises(kvwrap.InvalidValue):
        await store.put("a", "text")
    assert to_config(store) == table
    store = from_config({"store": {"python": "kvwrap:MemoryStore"}}, python=True)
    assert isinstance(store, MemoryStore)
    for wrong in ("kvwrap", "kvwrap:", "no_such_module:x", "kvwrap:Nothing", 3):
        assert "layers[0].check" in refused(
            layer(type="validate", check={"python": wrong}), python=True
        )
    assert "neither" in refused({"store": {"python": "builtins:dict"}}, python=True)


def test_what_is_made_in_code_says_so():
    text = refused(layer(type="clamp_ttl", rng=3))
    assert "layers[0].rng" in text
    assert "code" in text


# -- mistakes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, ["no store"]),
        ({"stor": "memory://"}, ["stor: ", "'store'"]),
        ({"store": "memory://", "layer": []}, ["layer:", "'layers'"]),
        ({"store": "memory://", "layers": {}}, ["layers", "[[layers]]"]),
        ({"store": "memory://", "layers": [3]}, ["layers[0]", "type"]),
        ({"store": "memory://", "layers": [{"name": "x"}]}, ["layers[0]", "type"]),
        ({"store": "memory://", "silence": "code"}, ["silence"]),
        ({"store": "memory://", "layers": ["statistic"]}, ["layers[0].type", "'statistics'"]),
        ({"store": "memroy://"}, ["store", "'memory'"]),
        ({"store": "localhost"}, ["store", "scheme"]),
        ({"store": 3}, ["store", "URL"]),
        ({"store": {"url": 3}}, ["store", "URL"]),
        ({"store": {"type": "memry"}}, ["store", "'memory'"]),
        ({"store": {"type": "memory", "max_entrys": 3}}, ["store.max_entrys", "'max_entries'"]),
        ({"store": {"type": "memory", "max_entries": "3"}}, ["store.max_entries", "whole number"]),
        ({"store": {"type": "memory", "max_entries": -3}}, ["store", "max_entries"]),
        (layer(type="statistics", nam="x"), ["layers[0].nam", "'name'"]),
        (layer(type="statistics", name=3), ["layers[0].name", "a string", "a whole number"]),
        (layer(type="prefix_collection"), ["layers[0]", "prefix"]),
        (layer(type="clamp_ttl", minimum=5, maximum=1), ["layers[0]", "minimum"]),
        (layer(type="clamp_ttl", minimum="1m"), ["layers[0].minimum", "number"]),
        (layer(type="clamp_ttl", minimum=-1), ["layers[0]", "ttl"]),
        (layer(type="read_only", on_write="rais"), ["layers[0].on_write", "'raise'"]),
        (layer(type="retry", on=["StoreTimeot"]), ["layers[0].on[0]", "'StoreTimeout'"]),
        (layer(type="timeout", operations={"read": "1"}), ["layers[0].operations.read", "number"]),
        (layer(type="chaos", delay=[1, 2, 3]), ["layers[0].delay"]),
        (layer(type="read_through", near="memry://"), ["layers[0].near", "'memory'"]),
        (layer(type="read_through", near={"type": "memory", "x": 1}), ["layers[0].near.x"]),
        (
            layer(type="read_through", near={"store": "memory://", "layers": ["retri"]}),
            ["layers[0].near.layers[0].type", "'retry'"],
        ),
        (layer(type="route", routes={"a": 3}), ["layers[0].routes.a", "URL"]),
    ],
    ids=json.dumps,
)
def test_mistakes_are_told_with_their_place_and_the_nearest_name(table, said):
    text = refused(table)
    for part in said:
        assert part in text
    assert text.count(f"{said[0]}:") <= 1


def test_files_that_are_none(tmp_path):
    assert "cannot be read" in refused(tmp_path / "missing.toml")
    (tmp_path / "bad.toml").write_text("store = \n")
    assert "line 1" in refused(tmp_path / "bad.toml")
    for bad in (None, 5, b"kvwrap.toml", [("store", "memory://")]):
        assert "a mapping or the path" in refused(bad)


def test_a_stack_has_no_store():
    with pytest.raises(ConfigurationError, match="from_config"):
        stack_from_config({"store": "memory://"})


def test_a_stack_that_cannot_work_is_refused():
    table = {"store": "memory://", "layers": [{"type": "serialize"}, {"type": "serialize"}]}
    assert "the stack" in refused(table)


# -- URLs ----------------------------------------------------------------------------------


def test_a_url_opens_the_store_of_its_scheme(tmp_path):
    assert isinstance(store_from_url("memory://"), MemoryStore)
    assert store_from_url(f"sqlite:///{tmp_path}/x.db").name == "SQLiteStore"
    assert store_from_url("null://").name == "NullStore"


def test_an_unknown_scheme_lists_those_there_are():
    with pytest.raises(ConfigurationError, match=r"memory.*redis.*sqlite"):
        store_from_url("zzzzz://host")
    with pytest.raises(ConfigurationError, match="did you mean 'redis'"):
        store_from_url("reddis://host")
    for wrong in ("", "redis", None, 3):
        with pytest.raises(ConfigurationError, match="scheme"):
            store_from_url(wrong)


def test_a_url_s_password_is_never_shown():
    url = f"redis://user:{SECRET}@localhost:1/0"
    store = from_config({"store": url})
    assert SECRET not in repr(store) + store.explain()
    with pytest.raises(ConfigurationError, match="secret") as caught:
        to_config(store)
    assert SECRET not in str(caught.value)


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


# -- writing -------------------------------------------------------------------------------


def test_what_was_read_is_written_as_it_was(keys, monkeypatch):
    monkeypatch.setenv("TEST_URL", "memory://")
    table = {
        "store": {"url": {"env": "TEST_URL"}},
        "layers": [
            {"type": "statistics"},
            {"type": "read_through", "near": {"env": "TEST_URL"}, "ttl": 5},
            {"type": "encrypt", "keyring": {"env": "TEST_KEYS"}},
            {"type": "retry", "on": ["StoreTimeout"], "attempts": 2},
        ],
        "silence": ["a", "b"],
    }
    assert to_config(from_config(table)) == table
    assert to_config(from_config(to_config(from_config(table)))) == table


def test_a_stack_built_in_code_is_written_down(keys, tmp_path):
    built = (
        stack()
        .statistics(name="s")
        .read_through(MemoryStore(max_entries=5), ttl=timedelta(minutes=1))
        .clamp_ttl(maximum=60, default=None)
        .encrypt(Keyring.from_env("TEST_KEYS"))
        .retry(on=(StoreUnavailable, TimeoutError))
        .validate(only)
        .silence("x")
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
            {"type": "validate", "check": {"python": f"{__name__}:only"}},
        ],
        "silence": ["x"],
    }
    again = from_config(table, python=True)
    assert to_config(again) == table
    assert [type(part) for part in again.layers] == [type(part) for part in built.layers]


def test_factories_are_written_as_what_they_make():
    built = stack().read_through(MemoryStore).over(MemoryStore())
    assert to_config(built)["layers"][0]["near"] == {"type": "memory"}
    built = stack().read_through(lambda: MemoryStore(max_entries=3)).over(MemoryStore())
    assert to_config(built)["layers"][0]["near"] == {"type": "memory", "max_entries": 3}


def test_layers_added_in_code_come_with_those_of_the_configuration():
    inner = from_config({"store": "memory://", "layers": ["statistics"]})
    outer = stack().clamp_ttl(maximum=5).over(inner)
    assert to_config(outer) == {
        "store": "memory://",
        "layers": [{"type": "clamp_ttl", "maximum": 5}, {"type": "statistics"}],
    }


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ({"stor": "memory://"}, "^stor: .*did you mean 'store'"),
        ({"store": {"evn": "URL"}}, "^store: .*did you mean 'env'"),
        (
            {"store": "memory://", "layers": [{"type": "hash_keys", "secret": {"flie": "/key"}}]},
            r"^layers\[0\].secret: .*did you mean 'file'",
        ),
        (
            {"store": "memory://", "layers": [{"type": "route", "routes": {"a": {"env ": "X"}}}]},
            r"^layers\[0\].routes.a: .*did you mean 'env'",
        ),
    ],
)
def test_what_is_misspelt_is_told_even_where_something_else_is_missing(described, said):
    with pytest.raises(ConfigurationError, match=said):
        from_config(described)


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
def test_what_cannot_be_written_down_is_refused(built, said):
    with pytest.raises(ConfigurationError, match=said):
        to_config(built())


# -- every layer ---------------------------------------------------------------------------

# The options that each layer cannot do without, and one more where it has one.
EVERY = {
    "chaos": {"seed": 1, "failure_rate": 0.5, "errors": ["StoreTimeout"]},
    "circuit_breaker": {"failures": 3, "open_for": 1.5},
    "clamp_ttl": {"maximum": 60},
    "coalesce": {},
    "compress": {"algorithm": "gzip", "level": 3},
    "default_value": {"value": {"a": [1]}, "ttl": 5},
    "encrypt": {"keyring": {"env": "TEST_KEYS"}, "accept_plaintext": True, "seal": False},
    "fallback": {"other": {"type": "memory", "max_entries": 5}, "writes": "both"},
    "hash_keys": {"secret": {"env": "TEST_LONG_SECRET"}, "collections": True},
    "limit_concurrency": {"limit": 5, "wait": 0.5},
    "limit_rate": {"operations": 5, "per": 2.0},
    "limit_size": {"max_size": 1000},
    "log": {"logger": "app", "level": "INFO"},
    "prefix_collection": {"prefix": "a-"},
    "prefix_key": {"prefix": "a-"},
    "read_only": {"on_write": "ignore"},
    "read_through": {"near": "memory://", "ttl": 30, "jitter": 0.1},
    "replicate": {"replicas": ["memory://", "memory://"]},
    "retry": {"attempts": 2, "on": ["StoreTimeout"]},
    "route": {"routes": {"a*": "memory://"}, "by": "key"},
    "serialize": {"serializer": "msgpack"},
    "shadow": {"other": "memory://"},
    "shard": {"shards": {"b": "memory://"}, "name": "a"},
    "single_collection": {"collection": "all"},
    "statistics": {"name": "s", "max_collections": 5},
    "timeout": {"seconds": 1, "operations": {"read": 0.5}},
    "trace": {"keys": True, "db_system": "redis"},
    "validate": {"check": {"python": f"{__name__}:only"}},
    "write_behind": {"journal": "{folder}/journal", "max_pending": 10},
}


@pytest.fixture
def secrets(keys, monkeypatch):
    monkeypatch.setenv("TEST_LONG_SECRET", SECRET * 4)


def test_every_layer_is_tried_here():
    assert set(EVERY) >= set(LAYERS)


@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
@pytest.mark.parametrize("name", sorted(LAYERS))
def test_every_layer_can_be_configured_and_written_back(name, secrets, tmp_path):
    options = json.loads(json.dumps(EVERY[name]).replace("{folder}", str(tmp_path)))
    table = {"store": "memory://", "layers": [{"type": name, **options}]}
    store = from_config(table, python=True)
    assert type(store.layers[0]) is layer_class(name)
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
