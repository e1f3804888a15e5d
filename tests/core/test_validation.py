"""Checks of arguments: what is accepted, and what is refused with which message."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import (
    ConfigurationError,
    InvalidBatch,
    InvalidKey,
    InvalidValue,
    Keyring,
    MemoryStore,
    stack,
    store_from_url,
)
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.tagging import checked_tags
from kvwrap.core.validation import (
    checked_bound,
    checked_call,
    checked_collection,
    checked_count,
    checked_errors,
    checked_flag,
    checked_key,
    checked_keys,
    checked_limit,
    checked_name,
    checked_names,
    checked_number,
    checked_operations,
    checked_rng,
    checked_seconds,
    checked_share,
    checked_values,
    matches,
    path_text,
    suggest,
)


class Name(StrEnum):
    ONE = "one"


class Loud(str):
    def __str__(self) -> str:
        return "LOUD"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_unicode_is_a_name(name: str) -> None:
    assert checked_key(name) == name
    assert checked_collection(name) == name
    assert checked_keys([name]) == [name]


@pytest.mark.parametrize("name", [Name.ONE, Loud("one")])
def test_a_subclass_of_str_becomes_a_plain_str(name: str) -> None:
    for checked in (checked_key(name), checked_collection(name), checked_keys([name])[0]):
        assert type(checked) is str
        assert checked == "one"


@pytest.mark.parametrize("bad", ["", None, 1, b"a", ["a"], "\ud800", "a\udc00b"], ids=repr)
def test_an_invalid_name(bad: object) -> None:
    with pytest.raises(InvalidKey):
        checked_key(bad)
    with pytest.raises(InvalidKey):
        checked_keys(["good", bad])  # type: ignore[list-item]  # is refused
    if bad is not None:
        with pytest.raises(InvalidKey):
            checked_collection(bad)


NO_UNICODE = "a\ud800"


@pytest.mark.parametrize(
    "make",
    [
        lambda: stack().shard({NO_UNICODE: MemoryStore}),
        lambda: stack().shard({"b": MemoryStore}, name=NO_UNICODE),
        lambda: stack().default_value(0, collections=[NO_UNICODE]),
        lambda: stack().prefix_key(NO_UNICODE),
        lambda: stack().write_behind(NO_UNICODE),
        lambda: stack().statistics(socket=NO_UNICODE),
        lambda: stack().statistics(NO_UNICODE),
        lambda: stack().hash_keys(NO_UNICODE * 8),
        lambda: stack().tags(NO_UNICODE * 8),
        lambda: Keyring({NO_UNICODE: b"k" * 32}),
        lambda: Keyring.from_env(NO_UNICODE),
        lambda: MemoryStore(default_collection=NO_UNICODE),
        lambda: store_from_url(f"memory://?default_collection={NO_UNICODE}"),
        lambda: store_from_url(f"memcached://{NO_UNICODE}"),
        lambda: store_from_url(f"s3://{NO_UNICODE}:secret@bucket"),
        lambda: checked_tags([NO_UNICODE]),
    ],
)
def test_a_name_given_in_code_with_a_lone_surrogate(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError):
        make()


def test_a_path_is_text_that_the_system_can_have(tmp_path: Path) -> None:
    undecodable = "a\udcff"  # stands for a byte that is no UTF-8
    assert [path_text(each) for each in (tmp_path, "a", undecodable)] == [
        *(str(tmp_path), "a", undecodable)
    ]
    for bad in ("", "a\0", NO_UNICODE, b"a", 5, None):
        assert path_text(bad) is None


@pytest.mark.parametrize("bad", ["ab", b"ab", 5, None], ids=repr)
def test_an_invalid_batch(bad: object) -> None:
    with pytest.raises(InvalidBatch):
        checked_keys(bad)  # type: ignore[arg-type]  # is refused


@pytest.mark.parametrize("bad", ["ab", b"ab", {"a": 1, "b": 2}, 5, None, [1], [1, 2, 3]], ids=repr)
def test_invalid_values_for_two_keys(bad: object) -> None:
    with pytest.raises(InvalidBatch):
        checked_values(bad, 2)  # type: ignore[arg-type]  # is refused


def test_values_may_be_any_iterable() -> None:
    assert checked_values((value for value in "ab"), 2) == ["a", "b"]
    assert checked_values({"x": 1}.values(), 1) == [1]


@pytest.mark.parametrize(("limit", "checked"), [(None, None), (3, 3), (0, 0), (-1, 0)])
def test_a_valid_limit(limit: int | None, checked: int | None) -> None:
    assert checked_limit(limit) == checked


@pytest.mark.parametrize("bad", ["5", 1.5, True, [1]], ids=repr)
def test_an_invalid_limit(bad: object) -> None:
    with pytest.raises(InvalidValue):
        checked_limit(bad)


def test_a_prefix_is_text_and_may_be_empty() -> None:
    assert checked_bound("", "prefix") == ""
    assert checked_bound(Name.ONE, "prefix") == "one"
    for bad in (None, 5, b"a", "\ud800"):
        with pytest.raises(InvalidKey, match="prefix"):
            checked_bound(bad, "prefix")


def test_the_callers_list_is_not_changed() -> None:
    keys = [Name.ONE, "two"]
    assert checked_keys(keys) is not keys
    assert type(keys[0]) is Name


def checked_at_least_0(value: Any, name: str) -> float:
    return checked_seconds(value, name, zero=True)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (checked_seconds, [1, 0.001, sys.float_info.max], [0, -1, True, "1", None]),
        (checked_at_least_0, [0, 0.0, 1], [-0.001, False, math.nan, math.inf, 10**400]),
        (checked_number, [1e-300, 2**70], [0, 0.0, math.nan, math.inf, -math.inf, 10**400]),
        (checked_share, [0, 1, 0.5], [-0.001, 1.001, math.nan, True, "1"]),
        (checked_count, [1, 2**70], [0, -1, 1.0, True, "1"]),
        (checked_flag, [True, False], [0, 1, None, "yes"]),
        (checked_call, [None, len], [0, "len"]),
        (checked_names, [[], ["a"], ("a", "b")], [None, 3, b"a", "a", [""], [None], [1]]),
        (checked_errors, [OSError, (OSError, KeyError)], [[], None, BaseException, [OSError, 1]]),
    ],
)
def test_what_an_argument_may_be(
    check: Callable[[Any, str], Any], good: list[Any], bad: list[Any]
) -> None:
    for value in good:
        checked = check(value, "x")
        assert checked in (value, (value,), tuple(value) if isinstance(value, list) else value)
    for value in bad:
        with pytest.raises(ConfigurationError, match="`x` must"):
            check(value, "x")


def test_seconds_become_a_float_and_the_default_collection_is_a_name_where_it_may_be() -> None:
    assert type(checked_seconds(1, "x")) is type(checked_share(1, "x")) is float
    assert checked_names(["a", None], "x", default=True) == ("a", None)
    with pytest.raises(ConfigurationError, match="`x` must"):
        checked_names(["a", ""], "x", default=True)


def test_an_error_matches_its_classes_unless_only_its_own_name_counts() -> None:
    assert matches(KeyError(), (LookupError,), ())
    assert not matches(KeyError(), (OSError,), ())
    assert not matches(KeyError(), (LookupError,), (KeyError,))
    assert matches(KeyError(), (LookupError, KeyError), (KeyError,))
    assert matches(IndexError(), (LookupError,), (KeyError,))


CLASSES = "one or several exception classes, such as (StoreUnavailable,)"


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (checked_seconds, 0, "`x` must be a finite number of seconds above 0; got 0"),
        (checked_seconds, "1", "`x` must be a finite number of seconds above 0; got '1'"),
        (checked_number, -1, "`x` must be a finite number above 0; got -1"),
        (checked_at_least_0, -1, "`x` must be a finite number of seconds at least 0; got -1"),
        (checked_count, True, "`x` must be an int above 0; got True"),
        (checked_share, 1.5, "`x` must be a number from 0 to 1; got 1.5"),
        (checked_flag, "false", "`x` must be True or False; got 'false'"),
        (checked_call, 3, "`x` must be a function; got int"),
        (checked_names, "a", "`x` must be a list of names such as ['a']; got 'a'"),
        (checked_names, ["a", ""], "`x` must contain non-empty str of valid Unicode only; got ''"),
        (checked_name, "", "`x` must be a non-empty str of valid Unicode; got ''"),
        (checked_errors, "OSError", f"`x` must be {CLASSES}; got 'OSError'"),
    ],
)
def test_the_message_says_what_must_hold_and_what_was_passed(
    check: Callable[[Any, str], Any], value: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        check(value, "x")
    assert str(raised.value) == message


def test_messages_of_checks_without_a_name() -> None:
    with pytest.raises(ConfigurationError, match="`operations` must be a list of names such as "):
        checked_operations("read")
    with pytest.raises(ConfigurationError, match="no operation is called 'raed': did you mean 'r"):
        checked_operations(["raed"])
    with pytest.raises(ConfigurationError, match=r"`rng` must be a random\.Random; got int"):
        checked_rng(3)


def test_a_suggestion_is_the_most_similar_name_or_all_names() -> None:
    assert suggest("compres", ["compress", "encrypt"]) == "did you mean 'compress'?"
    assert suggest("zzz", ["b", "a"]) == "choose from a, b"


@pytest.mark.parametrize("name", ["kvwrap.", "kvwrap.x", "kvwrap.dictionaries", "kvwrap.é"])
async def test_names_of_records_are_refused_everywhere(name: str) -> None:
    store = MemoryStore()
    calls = (
        *(store.get(name), store.put(name, 1), store.get_many(["a", name])),
        *(store.put_many([name], [1]), store.delete(name), store.expire(name, 1)),
        *(store.get("k", collection=name), store.put("k", 1, collection=name), store.keys(name)),
        *(store.destroy_collection(name), store.ttl("k", collection=name)),
        *(store.put_if_absent(name, 1), store.increment(name)),
    )
    for call in calls:
        with pytest.raises(InvalidKey, match="reserved"):
            await call
    assert store.base.idle


async def test_names_beside_those_of_records_are_the_users() -> None:
    store = MemoryStore()
    for name in ("kvwrap", "kvwrap-", "kvwrap/", "kvwrapx", "Kvwrap.x", "xkvwrap."):
        await store.put(name, 1, collection=name)
        assert await store.get(name, collection=name) == 1


async def test_collections_of_records_are_not_listed() -> None:
    store = MemoryStore()
    entry = Entry(b"1", codec.JSON, 0.0, None, 1)
    await store.write("kvwrap.records", ["k"], [entry])
    await store.write("users", ["k"], [entry])
    assert await store.collections() == ["users"]
    assert await store.collections(limit=1) == ["users"]
    assert await store.list_collections() == ["kvwrap.records", "users"]


@pytest.mark.parametrize("prefix", ["k", "kv", "kvwrap", "kvwrap.", "kvwrap.x"])
def test_no_prefix_makes_names_of_records(prefix: str) -> None:
    for layers in (stack().prefix_collection, stack().prefix_key):
        with pytest.raises(ConfigurationError, match="reserved"):
            layers(prefix)
        layers(prefix.replace(".", ":") + ":")
