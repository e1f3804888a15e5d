"""Reading a configuration, from a file or a mapping."""

from __future__ import annotations

import warnings

import pytest

from kvwrap import (
    ConfigurationError,
    Encryption,
    MemoryStore,
    NullStore,
    Stack,
    StackWarning,
    Statistics,
    TTLClamp,
    from_config,
    stack_from_config,
    to_config,
)
from kvwrap.config.load import stack_names
from tests.config.helpers import layer, refused


async def test_a_toml_file(tmp_path, keys):
    path = tmp_path / "stack.toml"
    path.write_text(
        """
        store = "memory://"
        silence = ["retry-twice"]

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
    assert store.silenced == {"retry-twice"}
    assert from_config(str(path)).explain() == store.explain()  # before it counts calls
    await store.put("a", {"b": 1})
    assert await store.get("a") == {"b": 1}


def test_nothing_is_opened_and_a_store_without_layers_is_enough():
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


def test_known_mistakes_warn_and_are_silenced():
    table = layer(type="retry") | {"layers": ["retry", "retry"]}
    with pytest.warns(StackWarning, match="retry-twice") as caught:
        from_config(table)
    assert caught[0].filename == __file__
    near = {"type": "read_through", "ttl": 5, "near": table}
    with pytest.warns(StackWarning, match="retry-twice") as caught:
        stack_from_config({"layers": [near]})
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_config(table | {"silence": ["retry-twice"]})


def test_sources_that_are_not_configurations(tmp_path):
    assert "cannot read" in refused(tmp_path / "missing.toml")
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


SEVERAL = {"one": {"store": "memory://", "layers": ["compress"]}, "two": {"store": "null://"}}


def test_a_configuration_has_several_stacks():
    assert from_config(SEVERAL, name="one").explain().startswith("Compression()")
    assert isinstance(from_config(SEVERAL, name="two"), NullStore)
    assert stack_names(SEVERAL) == ["one", "two"]
    assert stack_names({"store": "memory://"}) == []
    only = {"one": SEVERAL["one"]}
    assert from_config(only).explain() == from_config(only, name="one").explain()


@pytest.mark.parametrize(
    ("source", "name", "says"),
    [
        (SEVERAL, None, "has 2 stacks: choose one by its name, of 'one', 'two'"),
        (SEVERAL, "tow", "there is no stack 'tow': did you mean 'two'?"),
        ({"store": "memory://"}, "one", "has one stack, without a name; got the name 'one'"),
        ({"store": "memory://", "one": {"store": "memory://"}}, "one", "without a name"),
        ({"stroe": "memory://"}, None, "did you mean 'store'?"),
    ],
)
def test_a_stack_that_there_is_not_is_refused(source, name, says):
    with pytest.raises(ConfigurationError) as caught:
        from_config(source, name=name)
    assert says in str(caught.value)


def test_a_misspelt_store_is_told_also_in_a_file_of_several_stacks():
    assert "stor: a configuration has no such part: did you mean 'store'?" in refused(
        {"stor": "memory://"}
    )
    for others in ({}, {"b": {"store": "memory://"}}):
        message = refused({"a": {"stor": "memory://"}, **others}, name="a")
        assert message.startswith("a.stor: a configuration has no such part: did you mean 'store'?")
        assert "a: the stack has no store" in refused({"a": {"layers": []}, **others}, name="a")
    # Other programs' tables.
    assert from_config({"tool": {"x": {"stores": 1}}, "b": {"store": "memory://"}})
