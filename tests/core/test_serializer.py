"""Serializers: values come back unchanged, or are refused."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import inspect
import json
import math
import os
import sys
import uuid
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import CorruptEntry, DecryptionError, MemoryStore, SerializationError
from kvwrap.core import codec
from kvwrap.core.serializer import (
    JSON,
    BytesSerializer,
    JSONSerializer,
    MsgpackSerializer,
    PickleSerializer,
    Serializer,
    ValueCodec,
    serializer_named,
    serializer_names,
)
from kvwrap.testing.contract.values import REFUSED, VALUES

text = st.text(st.characters(exclude_categories=["Cs"]))
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=30
)
MSGPACK = MsgpackSerializer()


def same(one: Any, other: Any) -> bool:
    """Equal, of the same types all the way down, and with the same signs of zero."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return bool(one == other)


@given(values)
def test_json_brings_back_exactly_what_it_took(value: Any) -> None:
    data = JSON.dumps(value)
    assert same(JSON.loads(data), value)
    assert same(json.loads(data), value)


@given(values)
def test_msgpack_brings_back_exactly_what_it_took_or_refuses(value: Any) -> None:
    try:
        data = MSGPACK.dumps(value)
    except SerializationError:
        assert any(not -(2**63) <= n < 2**64 for n in integers(value))
    else:
        assert same(MSGPACK.loads(data), value)


def integers(value: Any) -> list[int]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [n for item in value for n in integers(item)]
    return [value] if type(value) is int else []


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**63) - 1, 2**200 + 1, -(10**300)])
def test_integers_over_64_bits_stay_exact_in_json(number: int) -> None:
    assert JSON.loads(JSON.dumps({"n": [number]})) == {"n": [number]}
    if not -(2**63) <= number < 2**64:
        with pytest.raises(SerializationError, match="64 bits"):
            MSGPACK.dumps({"n": [number]})


@pytest.mark.parametrize("name", VALUES)
def test_the_contracts_values(name: str) -> None:
    value = VALUES[name]()
    assert same(JSON.loads(JSON.dumps(value)), value)


@pytest.mark.parametrize("serializer", [JSON, MSGPACK], ids=lambda serializer: serializer.name)
@pytest.mark.parametrize("name", REFUSED)
def test_a_value_that_would_come_back_changed_is_refused(serializer: Serializer, name: str) -> None:
    if serializer is MSGPACK and name == "bytes":
        assert serializer.loads(serializer.dumps(b"bytes")) == b"bytes"
        return
    for value in (REFUSED[name](), [REFUSED[name]()], {"a": ({"b": REFUSED[name]()},)}):
        with pytest.raises(SerializationError):
            serializer.dumps(value)


@given(values, st.sampled_from(sorted(REFUSED)), st.data())
def test_one_bad_leaf_anywhere_is_found(value: Any, name: str, data: st.DataObject) -> None:
    for depth in range(data.draw(st.integers(0, 6))):
        value = [value, 1] if depth % 2 else {"inner": value, "": None}
    bad = REFUSED[name]()
    where = data.draw(st.sampled_from(["list", "dict", "tuple", "ordered"]))
    wrapped: Any = {
        "list": [value, bad],
        "dict": {"a": value, "b": bad},
        "tuple": (bad, value),
        "ordered": OrderedDict(a=value, b=bad),
    }[where]
    with pytest.raises(SerializationError):
        JSON.dumps(wrapped)


class Text(str):
    pass


class Number(int):
    pass


@pytest.mark.parametrize("value", [Text("a"), Number(1), {Text("a"): 1}, [Number(1)]], ids=repr)
def test_subclasses_of_atoms_are_refused(value: Any) -> None:
    with pytest.raises(SerializationError):
        JSON.dumps(value)


def test_other_mappings_and_sequences_become_plain_ones() -> None:
    class Listed(list[int]):
        pass

    value = MappingProxyType({"a": OrderedDict(b=(1, Listed([2])))})
    found = JSON.loads(JSON.dumps(value))
    assert same(found, {"a": {"b": [1, [2]]}})


def nested(levels: int, kind: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = kind(value)
    return value


@pytest.mark.parametrize("serializer", [JSON, MSGPACK], ids=lambda serializer: serializer.name)
def test_values_have_at_most_500_levels(serializer: Serializer) -> None:
    for kind in (lambda value: [value], lambda value: OrderedDict(only=value)):
        for levels in (100, 254, 255, 500):
            found = serializer.loads(serializer.dumps(nested(levels, kind)))
            for _ in range(levels):
                (found,) = found.values() if isinstance(found, dict) else found
            assert found == 1
        for levels in (501, 5_000, 50_000):
            value = nested(levels, kind)
            with pytest.raises(SerializationError, match="more than 500 levels"):
                serializer.dumps(value)
            while not isinstance(value, int):  # or its end alone would overflow the stack
                (value,) = value.values() if isinstance(value, dict) else value


@pytest.mark.parametrize("serializer", [JSON, MSGPACK], ids=lambda serializer: serializer.name)
def test_the_check_stays_far_from_the_recursion_limit(serializer: Serializer) -> None:
    def depth() -> int:
        frame, calls = inspect.currentframe(), 0
        while frame is not None:
            frame, calls = frame.f_back, calls + 1
        return calls

    depths: list[int] = []

    class Watched(OrderedDict[str, Any]):
        def items(self) -> Any:
            depths.append(depth())
            return super().items()

    watched = Watched()
    watched["self"] = watched
    with pytest.raises(SerializationError, match="contains itself"):
        serializer.dumps(watched)
    # An object that ends in between, as by garbage collection, has calls left to end with.
    assert max(depths) - depth() < sys.getrecursionlimit() * 0.6


@pytest.mark.parametrize("serializer", [JSON, MSGPACK], ids=lambda serializer: serializer.name)
def test_a_value_that_holds_itself_is_refused(serializer: Serializer) -> None:
    mapping: dict[str, Any] = {}
    mapping["self"] = [mapping]
    ordered: OrderedDict[str, Any] = OrderedDict()
    ordered["self"] = ordered
    for value in (mapping, [mapping], ordered):
        with pytest.raises(SerializationError, match="contains itself"):
            serializer.dumps(value)


def test_nested_mappings_of_another_kind_take_linear_time() -> None:
    def nested(depth: int) -> Any:
        value: Any = OrderedDict(n=1)
        for _ in range(depth):
            value = OrderedDict(inner=value, also=1)
        return value

    # If each level were visited twice, 60 levels would take 2**60 visits, and the suite's
    # timeout would end the test.
    assert JSON.loads(JSON.dumps(nested(60)))["also"] == 1


@dataclasses.dataclass
class User:
    name: str


class Plan(enum.Enum):
    FREE = "free"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"user": {"at": datetime.datetime(2026, 1, 1)}}, "`value['user']['at']` is of type datet"),
        ({"user": {"at": datetime.date(2026, 1, 1)}}, "store its isoformat(), or put instances of"),
        ([{"a": datetime.timedelta(1)}], "`value[0]['a']` is of type timedelta"),
        (datetime.timedelta(1), "store its total_seconds()"),
        (
            {1, 2},
            "`value` is of type set, which JSON would not return unchanged: convert it with l",
        ),
        (
            b"x",
            "`value` is of type bytes, which JSON would not return unchanged: add .serialize('m",
        ),
        (
            (uuid.UUID(int=1),),
            "`value[0]` is of type UUID, which JSON would not return unchanged: ",
        ),
        (uuid.UUID(int=1), "convert it with str()"),
        (
            Plan.FREE,
            "`value` is of type Plan, which JSON would not return unchanged: store its `.v",
        ),
        (
            Text("a"),
            "`value` is of type Text, which JSON would not return unchanged: convert it wi",
        ),
        (User("ada"), "put it through store.typed(User)"),
        (User, "convert it to str, int, float, bool, None, list or dict, or choose another seri"),
        ({"a": OrderedDict(b={1: 2})}, "`value['a']['b']` has a key of type int"),
        ({"score": math.nan}, "`value['score']` is NaN or infinite"),
        ({"text": ["\ud800"]}, "`value['text'][0]` has a lone surrogate, which JSON cannot store"),
        ({"text": {"\ud800": 1}}, "`value['text']` has a lone surrogate"),
        ({"text": ["a", "a\udfff"]}, "`value['text'][1]` has a lone surrogate"),
    ],
    ids=repr,
)
def test_the_message_names_the_field_and_the_way_out(value: Any, message: str) -> None:
    with pytest.raises(SerializationError) as raised:
        JSON.dumps(value)
    assert message in str(raised.value)


def test_the_message_names_the_field_of_an_integer_over_64_bits() -> None:
    with pytest.raises(SerializationError, match=r"`value\['n'\]\[1\]` is an integer over 64 bits"):
        MSGPACK.dumps({"m": True, "n": [1, 2**64]})
    with pytest.raises(SerializationError, match=r"convert it with bytes\(\)"):
        MSGPACK.dumps(bytearray(b"x"))


@pytest.mark.parametrize("key", ["sk-4f9d", "4f9d", "a1b2c3", "ada@example.org", "x" * 41, ""])
def test_keys_that_may_be_data_are_not_in_the_message(key: str) -> None:
    with pytest.raises(SerializationError, match=r"`value\['users'\]\[...\]` is of type object"):
        JSON.dumps({"users": {key: object()}})


def test_a_long_path_is_shortened() -> None:
    value: Any = object()
    for _ in range(100):
        value = [value]
    with pytest.raises(SerializationError) as raised:
        JSON.dumps(value)
    assert str(raised.value).startswith("`value[...]" + "[0]" * 20 + "` is of type object")


def test_bytes_are_stored_unchanged_and_other_types_refused() -> None:
    serializer = BytesSerializer()
    for data in (b"\x00a", bytearray(b"\x00a"), memoryview(b"\x00a")):
        assert serializer.loads(serializer.dumps(data)) == b"\x00a"
    for value in ("text", None, 1, [b"a"]):
        with pytest.raises(SerializationError, match="serialize"):
            serializer.dumps(value)


def test_serializers_by_name() -> None:
    assert {name: type(serializer_named(name)).__name__ for name in serializer_names()} == {
        "json": "JSONSerializer",
        "msgpack": "MsgpackSerializer",
        "bytes": "BytesSerializer",
        "pickle": "PickleSerializer",
    }
    assert serializer_named("yaml") is None


class Reversed:
    name = "reversed"

    def dumps(self, value: Any) -> bytes:
        return str(value)[::-1].encode()

    def loads(self, data: bytes) -> Any:
        return data.decode()[::-1]


def test_a_stack_reads_what_other_safe_serializers_wrote_and_nothing_else() -> None:
    reads = ValueCodec(JSON)
    assert reads.loads(MSGPACK.dumps({"a": b"b"}), codec.MSGPACK) == {"a": b"b"}
    assert reads.loads(b"raw", codec.BYTES) == b"raw"
    with pytest.raises(CorruptEntry, match="pickle"):
        reads.loads(PickleSerializer().dumps({"a": 1}), codec.PICKLE)
    own = ValueCodec(Reversed())
    assert own.loads(Reversed().dumps("abc"), own.tag) == "abc"
    assert own.loads(b"[1]", codec.JSON) == [1]
    with pytest.raises(CorruptEntry):
        reads.loads(Reversed().dumps("abc"), own.tag)


@pytest.mark.parametrize(
    ("steps", "layer"),
    [
        (codec.step(codec.ENCRYPTED, b"abcd") + codec.JSON, ".encrypt(keyring)"),
        (codec.ZSTD + codec.JSON, ".compress()"),
        (codec.step(codec.ZSTD_DICTIONARY, b"abcd") + codec.JSON, ".compress(dictionaries=True)"),
        (codec.BROTLI + codec.JSON, ".compress(accept=['brotli'])"),
        (codec.PICKLE, ".serialize('pickle')"),
    ],
)
def test_the_message_names_the_missing_layer(steps: bytes, layer: str) -> None:
    with pytest.raises((CorruptEntry, DecryptionError)) as raised:
        ValueCodec(JSON).loads(b"x", steps)
    assert str(raised.value).endswith(f"reads only json: add the layer that wrote it, {layer}")


@pytest.mark.parametrize(
    ("body", "steps", "kind"),
    [
        (b"{", codec.JSON, CorruptEntry),
        (b'{"a":1}x', codec.JSON, CorruptEntry),
        (b'"\xff"', codec.JSON, CorruptEntry),
        (b"[" * 100_000, codec.JSON, CorruptEntry),
        (b"\xc1", codec.MSGPACK, CorruptEntry),
        (b"", codec.MSGPACK, CorruptEntry),
        (b"x", codec.ZSTD + codec.JSON, CorruptEntry),
        (b"x", codec.step(codec.ENCRYPTED, b"abcd") + codec.JSON, DecryptionError),
        (b"x", b"\x98", DecryptionError),
        (b"x", b"\xff", CorruptEntry),
        (b"", b"", CorruptEntry),
    ],
)
def test_a_body_that_does_not_match_its_codec_is_a_typed_error(
    body: bytes, steps: bytes, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        ValueCodec(JSON).loads(body, steps)


def test_a_refusal_never_shows_the_value() -> None:
    refusal = ValueCodec(Reversed()).refusal("hunter2", ValueError("hunter2 is no good"))
    assert "hunter2" not in str(refusal)
    assert "reversed" in str(refusal)
    with pytest.raises(SerializationError) as raised:
        JSON.dumps([datetime.date(2020, 1, 1)])
    assert "2020" not in str(raised.value)


@pytest.mark.parametrize("name", ["json", "msgpack"])
def test_serialized_values_occupy_no_more_than_their_size(name: str) -> None:
    serializer = serializer_named(name)
    assert serializer is not None
    value = {"name": "Ada", "roles": ["admin", "dev"], "active": True}
    before = resident_bytes()
    kept = [serializer.dumps(value) for _ in range(20_000)]
    assert resident_bytes() - before < 20_000 * 1_000
    assert set(kept) == {serializer.dumps(value)}
    assert serializer.loads(kept[0]) == value


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@given(st.lists(values, max_size=5))
def test_several_values_are_serialized_like_each_or_left(several: list[Any]) -> None:
    bodies = JSON.dumps_several(several)
    if bodies is not None:
        assert list(map(JSON.loads, bodies)) == [JSON.loads(JSON.dumps(each)) for each in several]
        assert all(same(JSON.loads(body), each) for body, each in zip(bodies, several, strict=True))


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_several_values_are_left_if_one_is_refused(name: str) -> None:
    assert JSON.dumps_several([{"a": 1}, REFUSED[name], {"b": 2}]) is None


async def test_a_batch_has_the_values_of_a_serializer_of_ones_own() -> None:
    class Upper(JSONSerializer):
        def dumps(self, value: Any) -> bytes:
            return super().dumps(value).upper()

    keys = [f"k{number}" for number in range(100)]
    async with MemoryStore(serializer=Upper()) as store:
        await store.put_many(keys, [{"name": "ada"}] * 100)
        assert await store.get_many(keys) == [{"NAME": "ADA"}] * 100


@pytest.mark.parametrize("place", [0, 1, 50, 99])
async def test_a_value_that_a_batch_refuses_is_named(place: int) -> None:
    keys = [f"k{number}" for number in range(100)]
    items: list[Any] = [{"n": number, "large": [2**80], "f": 0.5} for number in range(100)]
    async with MemoryStore() as store:
        await store.put_many(keys, items)
        assert await store.get_many(keys) == items
        items[place] = {"ok": 1, "when": object(), "n": None}
        with pytest.raises(SerializationError, match="when") as raised:
            await store.put_many(keys, items, collection="c")
        assert (raised.value.key, raised.value.collection) == (keys[place], "c")
        assert await store.count(collection="c") == 0
