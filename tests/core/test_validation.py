from __future__ import annotations

from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import InvalidBatch, InvalidKey, InvalidValue
from kvwrap.core.validation import (
    checked_bound,
    checked_collection,
    checked_key,
    checked_keys,
    checked_limit,
    checked_values,
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
def test_a_subclass_of_str_becomes_its_plain_self(name: str) -> None:
    for checked in (checked_key(name), checked_collection(name), checked_keys([name])[0]):
        assert type(checked) is str
        assert checked == "one"


@pytest.mark.parametrize("bad", ["", None, 1, b"a", ["a"], "\ud800", "a\udc00b"], ids=repr)
def test_what_is_no_name(bad: object) -> None:
    with pytest.raises(InvalidKey):
        checked_key(bad)
    with pytest.raises(InvalidKey):
        checked_keys(["good", bad])  # type: ignore[list-item]  # what is to be refused
    if bad is not None:
        with pytest.raises(InvalidKey):
            checked_collection(bad)


@pytest.mark.parametrize("bad", ["ab", b"ab", 5, None], ids=repr)
def test_what_is_no_batch(bad: object) -> None:
    with pytest.raises(InvalidBatch):
        checked_keys(bad)  # type: ignore[arg-type]  # what is to be refused


@pytest.mark.parametrize("bad", ["ab", b"ab", {"a": 1, "b": 2}, 5, None, [1], [1, 2, 3]], ids=repr)
def test_what_are_no_two_values(bad: object) -> None:
    with pytest.raises(InvalidBatch):
        checked_values(bad, 2)  # type: ignore[arg-type]  # what is to be refused


def test_values_may_come_from_anywhere() -> None:
    assert checked_values((value for value in "ab"), 2) == ["a", "b"]
    assert checked_values({"x": 1}.values(), 1) == [1]


@pytest.mark.parametrize(("limit", "checked"), [(None, None), (3, 3), (0, 0), (-1, 0)])
def test_what_a_limit_is(limit: int | None, checked: int | None) -> None:
    assert checked_limit(limit) == checked


@pytest.mark.parametrize("bad", ["5", 1.5, True, [1]], ids=repr)
def test_what_is_no_limit(bad: object) -> None:
    with pytest.raises(InvalidValue):
        checked_limit(bad)


def test_a_prefix_may_be_empty_and_is_text() -> None:
    assert checked_bound("", "prefix") == ""
    assert checked_bound(Name.ONE, "prefix") == "one"
    for bad in (None, 5, b"a", "\ud800"):
        with pytest.raises(InvalidKey, match="prefix"):
            checked_bound(bad, "prefix")


def test_the_callers_list_stays_as_it_is() -> None:
    keys = [Name.ONE, "two"]
    assert checked_keys(keys) is not keys
    assert type(keys[0]) is Name
