"""Values: those that come back as they were put, those that are refused, copies and None."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from kvwrap import (
    Capability,
    KeyNotFound,
    SerializationError,
    Store,
    UnsupportedOperation,
)
from kvwrap.testing.contract.base import Contract, needs


class _Colour(enum.Enum):
    RED = "red"


def _cycle() -> list[Any]:
    cycle: list[Any] = []
    cycle.append(cycle)
    return cycle


VALUES: dict[str, Callable[[], Any]] = {
    "mapping": lambda: {"a": 1, "b": [1, 2.5, None, True, {"c": "d"}]},
    "empty mapping": dict,
    "list": lambda: [1, "two", [3]],
    "empty list": list,
    "text": lambda: "grüße 😀 \x00 \\ \" '",
    "empty text": str,
    "integer": lambda: 42,
    "integer over 64 bits": lambda: 2**70 + 1,
    "negative integer over 64 bits": lambda: -(2**70) - 1,
    "float": lambda: 0.1 + 0.2,
    "small float": lambda: 5e-324,
    "true": lambda: True,
    "false": lambda: False,
    "unicode keys": lambda: {"ключ": 1, "😀": 2, "": 3},
    "nested deeply": lambda: {"a": [{"b": [{"c": [{"d": [1]}]}]}]},
    "large": lambda: {"text": "kvwrap " * 20_000, "numbers": list(range(2_000))},
}
"""Factories of values that JSON can represent, and that come back equal and of the same type."""

REFUSED: dict[str, Callable[[], Any]] = {
    "datetime": lambda: datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
    "date": lambda: datetime.date(2020, 1, 1),
    "timedelta": lambda: datetime.timedelta(seconds=1),
    "UUID": lambda: uuid.UUID(int=1),
    "Decimal": lambda: decimal.Decimal("1.5"),
    "bytes": lambda: b"bytes",
    "bytearray": lambda: bytearray(b"bytes"),
    "set": lambda: {1},
    "frozenset": lambda: frozenset({1}),
    "complex": lambda: 1j,
    "enum": lambda: _Colour.RED,
    "object": object,
    "integer keys": lambda: {1: "one"},
    "None as a key": lambda: {None: 1},
    "tuple keys": lambda: {("a",): 1},
    "NaN": lambda: math.nan,
    "infinity": lambda: math.inf,
    "minus infinity": lambda: -math.inf,
    "lone surrogate": lambda: "\ud800",
    "cycle": _cycle,
}
"""Factories of values that JSON would return changed, or cannot represent."""


class Values(Contract):
    """A value comes back as it was put, or the put is refused.

    Attributes:
        values: Factories of values that the store accepts, each under a title.
        refused: Factories of values that the store refuses, each under a title. Serializers
            other than JSON accept some of them.
    """

    values: Mapping[str, Callable[[], Any]] = VALUES
    refused: Mapping[str, Callable[[], Any]] = REFUSED

    async def test_values_come_back_equal_and_of_the_same_type(self, store: Store) -> None:
        await store.put_many(list(self.values), [make() for make in self.values.values()])
        found = dict(zip(self.values, await store.get_many(list(self.values)), strict=True))
        for name, make in self.values.items():
            assert found[name] == make(), name
            assert type(found[name]) is type(make()), name
            assert await store.get(name) == make(), name

    async def test_tuples_come_back_as_lists_and_mappings_as_dicts(self, store: Store) -> None:
        await store.put("tuple", (1, (2, 3)))
        await store.put("ordered", OrderedDict(b=1, a=OrderedDict(c=2)))
        assert await store.get("tuple") == [1, [2, 3]]
        ordered = await store.get("ordered")
        assert type(ordered) is dict
        assert ordered == {"b": 1, "a": {"c": 2}}

    async def test_the_last_put_wins(self, store: Store) -> None:
        await store.put("key", {"n": 1})
        await store.put("key", {"n": 2})
        assert await store.get("key") == {"n": 2}
        assert await store.delete("key")
        assert await store.get("key") is None
        assert not await store.delete("key")

    async def test_changing_a_value_after_put_does_not_change_the_store(self, store: Store) -> None:
        value = {"inner": [1]}
        await store.put("one", value)
        await store.put_many(["two", "three"], [value, value])
        returned = await store.get_or_put("four", lambda: value)
        returned["inner"].append(3)
        value["inner"].append(2)
        for stored in await store.get_many(["one", "two", "three", "four"]):
            assert stored == {"inner": [1]}

    async def test_changing_a_returned_value_does_not_change_the_store(self, store: Store) -> None:
        await store.put("key", {"inner": [1]})
        found = [
            await store.get("key"),
            *await store.get_many(["key", "key"]),
            (await store.ttl("key"))[0],
            (await store.ttl_many(["key"]))[0][0],
            await store.require("key"),
            await store.get_or_put("key", dict),
        ]
        versioned = await store.get_versioned("key")
        assert versioned is not None
        found.append(versioned.value)
        if Capability.KEYS in store.capabilities:
            found += [value async for _, value in store.items()]
        for value in found:
            assert value == {"inner": [1]}
            value["inner"].append(2)
        assert await store.get("key") == {"inner": [1]}

    async def test_none_is_a_value_that_only_get_cannot_tell_from_missing(
        self, store: Store
    ) -> None:
        await store.put("none", None)
        assert await store.get_many(["none", "missing"]) == [None, None]
        assert await store.ttl("none") == (None, None)
        assert await store.exists("none")
        assert await store.require("none") is None
        assert await store.get_or_put("none", lambda: pytest.fail("must not run")) is None
        versioned = await store.get_versioned("none")
        assert versioned is not None
        assert versioned.value is None
        assert await store.pop("none", "default") is None
        assert not await store.exists("none")
        assert await store.pop("none", "default") == "default"

    async def test_missing_keys(self, store: Store) -> None:
        assert await store.get("missing") is None
        assert await store.ttl("missing") == (None, None)
        assert await store.get_versioned("missing") is None
        assert not await store.exists("missing")
        assert await store.pop("missing") is None
        with pytest.raises(KeyNotFound) as raised:
            await store.require("missing", collection="other")
        assert isinstance(raised.value, KeyError)
        assert (raised.value.key, raised.value.collection) == ("missing", "other")

    async def test_values_that_would_come_back_changed_are_refused(self, store: Store) -> None:
        await store.put("key", "before")
        for name, make in self.refused.items():
            for value in (make(), [make()], {"deep": [{"er": (make(),)}]}):
                with pytest.raises(SerializationError) as raised:
                    await store.put("key", value)
                assert raised.value.key == "key", name
        assert await store.get("key") == "before"

    async def test_nothing_is_written_when_one_value_is_refused(self, store: Store) -> None:
        for name, make in self.refused.items():
            with pytest.raises(SerializationError):
                await store.put_many(["good", "bad"], ["value", make()])
            with pytest.raises(SerializationError):
                await store.get_or_put("bad", make)
            with pytest.raises((SerializationError, UnsupportedOperation)):
                await store.put_if_absent("bad", make())
            assert not await store.exists("good"), name
            assert not await store.exists("bad"), name

    @needs(Capability.COMPARE_AND_PUT)
    async def test_a_refused_value_replaces_nothing(self, store: Store) -> None:
        await store.put_if_absent("key", "before")
        versioned = await store.get_versioned("key")
        assert versioned is not None
        with pytest.raises(SerializationError):
            await store.compare_and_put("key", {1}, versioned.version)
        assert await store.get("key") == "before"

    async def test_errors_never_show_the_value(self, store: Store) -> None:
        for value in ({"hunter2"}, {"password": {"hunter2"}}, {("hunter2",): 1}):
            with pytest.raises(SerializationError) as raised:
                await store.put("key", value)
            assert "hunter2" not in str(raised.value)
            assert "hunter2" not in repr(raised.value.__cause__)
