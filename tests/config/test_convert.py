"""Options of every kind, and mistakes in them with their location."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal, SupportsFloat

import pytest

import kvwrap
from kvwrap import ConfigurationError, Keyring, from_config
from kvwrap.config.convert import CodeOnly, Converter, parameters
from tests.config.helpers import layer, refused


def test_options_of_many_kinds():
    store = from_config(
        layer(
            type="retry",
            attempts=2,
            on=["StoreTimeout", "ConnectionError"],
            wait=1,
            timeout=None,
        )
    )
    assert store.layers[0].on == (kvwrap.StoreTimeout, ConnectionError)
    assert store.layers[0].timeout is None
    from_config(layer(type="timeout", seconds=1, operations={"read": 0.5, "write": None}))
    from_config(layer(type="chaos", delay=[0.1, 0.2], operations=["read"]))
    from_config({"store": {"type": "memory", "serializer": "msgpack"}})


@pytest.mark.parametrize(
    ("value", "wanted", "converted"),
    [
        ({"env": "TEST_SEVEN"}, int, 7),
        ({"env": "TEST_SEVEN"}, int | None, 7),
        ({"env": "TEST_SEVEN"}, float, 7.0),
        ({"env": "TEST_SEVEN"}, SupportsFloat | timedelta | None, 7.0),
        ({"env": "TEST_SEVEN"}, int | str, "7"),
        ({"env": "TEST_SEVEN"}, bytes, b"7"),
        ({"env": "TEST_SEVEN"}, bytes | str, "7"),
        ("é", bytes, "é".encode()),
        ("x", bytes | str, "x"),
        (["a", {"env": "TEST_SEVEN"}], list[bytes], [b"a", b"7"]),
        ({"env": "TEST_SEVEN"}, Any, "7"),
        ({"a": {"env": "TEST_SEVEN"}}, Mapping[str, float | None], {"a": 7.0}),
        (["a", "b"], list[int] | list[str], ["a", "b"]),
        (["a", "b"], set[str], {"a", "b"}),
        ([1, 2, 3], tuple[int, ...], (1, 2, 3)),
        ({"a": 1}, dict, {"a": 1}),
        ("x", Literal["a"] | str, "x"),
        (2, Literal[1, 2], 2),
        ("file", str | os.PathLike[str], "file"),
        (None, timedelta | None, None),
    ],
)
def test_values_are_converted_to_what_is_annotated(monkeypatch, value, wanted, converted):
    monkeypatch.setenv("TEST_SEVEN", "7")
    result = Converter(False, refuse_stores).convert(value, wanted, "option")
    assert result == converted
    assert type(result) is type(converted) or isinstance(result, str)


@pytest.mark.parametrize(
    ("value", "wanted", "said"),
    [
        (True, int, "option: expected a whole number, got true or false"),
        (1, bool, "option: expected true or false, got a whole number"),
        (3, Literal[1, 2], "option: expected 1 or 2, got a whole number"),
        (5, bytes, "option: expected text by reference ({env = ...} or {file = ...}), got"),
        ([1, "x"], list[int] | list[bool], "option[1]: expected a whole number, got a string"),
        ({"a": {"b": None}}, dict[str, dict[str, int]], "option.a.b: expected a whole number"),
        ({"evn": "X"}, int | None, "option: unknown kind of reference 'evn': did you mean 'env'?"),
        ("k:A", Keyring, "option: expected keys by reference ({env = ...} or {file = ...}), got"),
    ],
)
def test_a_value_of_another_type_is_refused(value, wanted, said):
    with pytest.raises(ConfigurationError) as caught:
        Converter(False, refuse_stores).convert(value, wanted, "option")
    assert str(caught.value).startswith(said)


def refuse_stores(value, path):
    raise AssertionError(f"{path} is not a store")


def test_an_annotation_that_cannot_be_evaluated_is_of_an_object_from_code():
    class Client:
        """Its module is imported for type checkers only."""

        def __init__(self, client: driver.Client, size: int = 1) -> None:  # type: ignore[name-defined]  # noqa: F821
            pass

    annotations = {name: found.annotation for name, found in parameters(Client).items()}
    assert annotations == {"client": CodeOnly, "size": int}
    with pytest.raises(ConfigurationError, match=r"expected an object from code \({python"):
        Converter(False, refuse_stores).convert("x", annotations["client"], "option")


def test_an_object_from_code_says_so():
    text = refused(layer(type="clamp_ttl", rng=3))
    assert "layers[0].rng" in text
    assert "code" in text


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, ["no store"]),
        ({"stor": "memory://"}, ["stor: ", "'store'"]),
        ({"store": "memory://", "layer": []}, ["layer:", "'layers'"]),
        ({"store": "memory://", "layers": {}}, ["layers", "[[layers]]"]),
        ({"store": "memory://", "layers": [3]}, ["layers[0]", "type"]),
        ({"store": "memory://", "layers": [{"name": "x"}]}, ["layers[0]", "type"]),
        ({"store": "memory://", "silence": "code"}, ["silence", "array"]),
        ({"store": "memory://", "silence": [3]}, ["silence", "strings"]),
        ({"store": "memory://", "silence": ["retry-twise"]}, ["silence", "'retry-twice'"]),
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
        (layer(type="clamp_ttl", minimum=-1), ["layers[0]", "`minimum`"]),
        (layer(type="read_only", on_write="rais"), ["layers[0].on_write", "'raise'"]),
        (layer(type="retry", on=["StoreTimeot"]), ["layers[0].on[0]", "'StoreTimeout'"]),
        (layer(type="timeout", operations={"read": "1"}), ["layers[0].operations.read", "number"]),
        (layer(type="chaos", delay=[1, 2, 3]), ["layers[0].delay", "an array of 2"]),
        (layer(type="chaos", delay="1"), ["layers[0].delay", "a number or an array", "a string"]),
        (layer(type="retry", on=3), ["layers[0].on", "the name of an exception or an array"]),
        (layer(type="serialize", serializer="jsn"), ["layers[0].serializer", "'json'"]),
        (layer(type="read_only", on_write=3), ["layers[0].on_write", "'raise' or 'ignore'"]),
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
def test_mistakes_have_a_location_and_the_nearest_name(table, said):
    text = refused(table)
    for part in said:
        assert part in text
    assert text.count(f"{said[0]}:") <= 1


@pytest.mark.parametrize("path", ["layers[0].secret", "layers[0].api_key", "layers[0].tokens[1]"])
def test_bytes_that_are_secret_are_not_written_in_the_configuration(path):
    with pytest.raises(ConfigurationError, match="by reference") as caught:
        Converter(False, refuse_stores).convert("hush", bytes, path)
    assert "hush" not in str(caught.value)


def test_a_context_of_encryption_is_text_or_a_reference(monkeypatch, keys):
    monkeypatch.setenv("TEST_CONTEXT", "from the environment")
    for context, expected in (
        ("tenant-7", b"tenant-7"),
        ({"env": "TEST_CONTEXT"}, b"from the environment"),
    ):
        table = layer(type="encrypt", keyring={"env": "TEST_KEYS"}, context=context)
        encryption = from_config(table).layers[0]
        assert encryption.context == expected
        assert kvwrap.to_config(from_config(table)) == table
