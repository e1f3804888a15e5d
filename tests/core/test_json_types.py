"""The exact JSON types: what the serializers accept is what a plain walk over the value accepts."""

from __future__ import annotations

import array
import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import re
import types
import uuid
from collections import OrderedDict, UserDict, defaultdict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
import orjson
import ormsgpack
import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvwrap import MemoryStore, SerializationError, stack
from kvwrap.core.serializer import JSON, MsgpackSerializer, Serializer

MSGPACK = MsgpackSerializer()
SERIALIZERS = [JSON, MSGPACK]


class Text(str):
    pass


class Number(int):
    pass


class Real(float):
    pass


class Listed(list[Any]):
    pass


class Mapped(dict[Any, Any]):
    pass


class Pair(NamedTuple):
    one: Any
    two: Any


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    YES = "yes"


class Plain(enum.Enum):
    ONE = 1
    TEXT = "text"


class Bits(enum.Flag):
    A = 1


class Coded(bytes, enum.Enum):
    """An enum with a buffer, whose value is not its bytes, as in Python's documentation."""

    def __new__(cls, value: int) -> Coded:
        member = bytes.__new__(cls, [value])
        vars(member)["_value_"] = value
        return member

    def __repr__(self) -> str:
        return f"Coded({self.value})"

    ONE = 1


@dataclasses.dataclass
class User:
    name: str


class Struct(msgspec.Struct):
    name: str


OTHERS: list[Any] = [
    Text("a"), Number(1), Real(1.5), Level.LOW, Word.YES, Plain.ONE, Plain.TEXT, Bits.A, Coded.ONE,
    uuid.UUID(int=1), datetime.datetime(2026, 1, 1), datetime.datetime.now(datetime.UTC),
    datetime.date(2026, 1, 1), datetime.time(1), datetime.timedelta(1), decimal.Decimal("1.5"),
    math.nan, -math.nan, math.inf, -math.inf, "\ud800", "a\udfff", b"", b"bytes", bytearray(b"a"),
    memoryview(b"a"), array.array("d", [1.0]), {1}, frozenset({"a"}), 1j, ..., object(), User,
    User("a"), Struct("a"), orjson.Fragment(b"1"), ormsgpack.Fragment(b"1"), ormsgpack.Ext(1, b"a"),
    range(2), iter([1]), len, types.SimpleNamespace(a=1), NotImplemented,
]  # fmt: skip
"""One of each other type that a value may have, the bytes that MessagePack takes among them."""

ODD_TEXTS = [
    "null",
    "NaN",
    '{"a":null}',
    "żółć ąęś",
    "ā" * 40,
    "\x7fÿ\x00",
    "\u02c8",
    "😀",
    "\u2028",
]
"""Texts with bytes that stand for something else in JSON or MessagePack."""

ODD_NUMBERS = [
    203, -1, -5, 0x7F, 0xFF, 0xCB7FF0, 0xCBFFFF, 196, 197, 198, 2**63, 2**64 - 1, 2**64, -(2**63),
    -(2**63) - 1, 2**200, -0.0, 5e-324, 1.7976931348623157e308, -1.7976931348623157e308, 1e16, 1e22,
    0.1 + 0.2, 123456789012345678.0,
]  # fmt: skip

text = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(ODD_TEXTS)
leaves: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
    | st.sampled_from(ODD_NUMBERS)
)
mappings: list[Callable[[dict[Any, Any]], Any]] = [
    dict, OrderedDict, Mapped, UserDict, types.MappingProxyType,
    lambda value: defaultdict(int, value),
]  # fmt: skip
sequences: list[Callable[[list[Any]], Any]] = [list, tuple, Listed, lambda items: Pair(items, 1)]
keys = text | st.sampled_from(
    [Text("a"), 1, None, True, 1.5, b"a", ("a",), Level.LOW, Word.YES, "\ud800"]
)


def containers(of_keys: st.SearchStrategy[Any]) -> Callable[[Any], st.SearchStrategy[Any]]:
    def build(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        lists = st.builds(
            lambda make, items: make(items), st.sampled_from(sequences), st.lists(inner)
        )
        dicts = st.builds(
            lambda make, items: make(items),
            st.sampled_from(mappings),
            st.dictionaries(of_keys, inner, max_size=4),
        )
        return lists | dicts

    return build


storable = st.recursive(leaves, containers(text), max_leaves=20)
anything = st.recursive(leaves | st.sampled_from(OTHERS), containers(keys), max_leaves=10)


SURROGATE = re.compile("[\ud800-\udfff]")


class Refused(Exception):
    pass


def walked(value: Any, serializer: Serializer) -> Any:
    """Return what the value is loaded as, or raise `Refused`."""
    kind = type(value)
    if kind in (bool, type(None)) or (kind is bytes and serializer is MSGPACK):
        return value
    if kind is str and not SURROGATE.search(value):
        return value
    if kind is int and (serializer is JSON or -(2**63) <= value < 2**64):
        return value
    if kind is float and math.isfinite(value):
        return value
    if isinstance(value, Mapping):
        if not all(type(key) is str for key in value):
            raise Refused
        return {walked(key, serializer): walked(item, serializer) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [walked(item, serializer) for item in value]
    raise Refused


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


def check(serializer: Serializer, value: Any) -> None:
    try:
        expected = walked(value, serializer)
    except Refused:
        with pytest.raises(SerializationError):
            serializer.dumps(value)
        return
    data = serializer.dumps(value)
    assert type(data) is bytes
    assert same(serializer.loads(data), expected)
    if serializer is JSON:
        assert same(json.loads(data), expected)


@pytest.mark.parametrize("serializer", SERIALIZERS, ids=lambda serializer: serializer.name)
@given(value=storable)
@example(value=[203, -1, -5])
def test_values_of_exact_types_come_back(serializer: Serializer, value: Any) -> None:
    check(serializer, value)


@pytest.mark.parametrize("serializer", SERIALIZERS, ids=lambda serializer: serializer.name)
@given(value=anything)
def test_any_value_is_stored_exactly_or_refused(serializer: Serializer, value: Any) -> None:
    check(serializer, value)


@pytest.mark.parametrize("serializer", SERIALIZERS, ids=lambda serializer: serializer.name)
@pytest.mark.parametrize("other", OTHERS, ids=lambda other: type(other).__name__)
def test_one_value_of_another_type_anywhere_is_found(serializer: Serializer, other: Any) -> None:
    check(serializer, other)
    for outer in (list, dict):
        for make in sequences:
            items = make([1, other, "a"])
            check(serializer, items)
            check(serializer, [items] if outer is list else {"a": items})
        for make in mappings:
            value = make({"a": 1.5, "b": other, "c": None})
            check(serializer, value)
            check(serializer, [value] if outer is list else {"a": value})


@pytest.mark.parametrize("serializer", SERIALIZERS, ids=lambda serializer: serializer.name)
@pytest.mark.parametrize(
    "long", ["a" * 70_000, "ż" * 40_000, ["ab", 1.5] * 1_000], ids=["ascii", "other", "list"]
)
@pytest.mark.parametrize(
    "item", [1, b"a", bytearray(b"a"), 2**64, math.nan, uuid.UUID(int=1), Coded.ONE], ids=repr
)
def test_long_values_are_checked_as_short_ones(
    serializer: Serializer, long: Any, item: Any
) -> None:
    check(serializer, {"long": long, "item": item})
    check(serializer, {"long": long, "item": item, "more": None})
    check(serializer, long)


@pytest.mark.parametrize("serializer", SERIALIZERS, ids=lambda serializer: serializer.name)
@pytest.mark.parametrize(
    "other", [*OTHERS, *ODD_TEXTS, *ODD_NUMBERS, None, True], ids=lambda other: type(other).__name__
)
def test_mappings_of_few_fields(serializer: Serializer, other: Any) -> None:
    fields = {"a": other, "b": 1, "c": "text", "d": other}
    for number in range(5):
        check(serializer, dict(list(fields.items())[:number]))
        check(serializer, dict(list(fields.items())[number:]))
    for key in (1, None, Text("a"), b"a", "\ud800", Level.LOW, Word.YES):
        check(serializer, {key: other})
        check(serializer, {"a": 1, key: other})


@pytest.mark.parametrize("serializer", SERIALIZERS, ids=lambda serializer: serializer.name)
@pytest.mark.parametrize("depth", [250, 254, 255, 256, 260])
def test_nesting_at_the_limits_of_the_encoders(serializer: Serializer, depth: int) -> None:
    for leaf in (1, math.nan, Level.LOW):
        value: Any = leaf
        for number in range(depth):
            value = [value] if number % 2 else {"a": value}
        check(serializer, value)


class Model(pydantic.BaseModel):
    name: str


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (Struct("a"), "put it through store.typed(Struct)"),
        (Model(name="a"), "put it through store.typed(Model)"),
        (User("a"), "put it through store.typed(User)"),
        (Struct, "convert it to str, int, float, bool, None, list or dict, or choose another"),
        (Real(1.5), "convert it with float()"),
        (Number(1), "convert it with int()"),
        (datetime.time(1), "store its isoformat(), or put instances of a model through"),
        (decimal.Decimal(1), "convert it with str()"),
        (pathlib.PurePath("a"), "convert it with str()"),
        (frozenset({1}), "convert it with list() or sorted()"),
        (bytearray(b"a"), "add .serialize('msgpack') to the stack"),
        (memoryview(b"a"), "add .serialize('msgpack') to the stack"),
        (-math.inf, "store None or a str instead"),
        ({1: 2}, "convert the keys to str"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_each_refusal_says_what_to_do(value: Any, hint: str) -> None:
    for depth in range(3):
        with pytest.raises(SerializationError) as raised:
            JSON.dumps(value)
        assert hint in str(raised.value)
        assert str(raised.value).startswith("`value" + "['a'][0]" * depth + "` ")
        value = {"a": [value]}


class Reversed(list[Any]):
    def __iter__(self) -> Any:
        return reversed(self)


class Longer(list[Any]):
    def __iter__(self) -> Any:
        yield from list.__iter__(self)
        yield 3


class Shorter(tuple[Any, ...]):
    __slots__ = ()

    def __iter__(self) -> Any:
        return iter(self[:1])


class LastOfEach(dict[str, Any]):
    """Like the forms of web frameworks: each key holds a list, and its last item is shown."""

    def items(self) -> Any:
        return [(key, values[-1]) for key, values in super().items()]


class Partial(dict[str, Any]):
    def items(self) -> Any:
        return list(super().items())[1:]


class Extended(dict[str, Any]):
    def items(self) -> Any:
        return [*super().items(), ("more", 1)]


@pytest.mark.parametrize("serializer", SERIALIZERS, ids=lambda serializer: serializer.name)
@pytest.mark.parametrize(
    "value",
    [
        Reversed([1, 2]),
        Longer([1, 2]),
        Shorter((1, 2)),
        LastOfEach(a=[1, 2]),
        Partial(a=1, b=2),
        Extended(a=1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_shows_other_items_than_it_holds_is_refused(
    serializer: Serializer, value: Any
) -> None:
    for path, outer in (("value", value), ("value['a'][1]", {"a": [0, value]})):
        with pytest.raises(SerializationError, match="shows other items than it holds") as raised:
            serializer.dumps(outer)
        assert str(raised.value).startswith(f"`{path}` ")
    assert serializer.loads(serializer.dumps(OrderedDict(b=1, a=2))) == {"a": 2, "b": 1}


def test_the_order_of_a_mapping_is_its_own() -> None:
    moved = OrderedDict(a=1, b=2, c=3)
    moved.move_to_end("a")
    assert JSON.dumps(moved) == b'{"b":2,"c":3,"a":1}'


class Nameless(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]  # a metaclass may do this
        raise RuntimeError("secret")


class Closed(type):
    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError("secret")


@pytest.mark.parametrize("name", ["json", "msgpack", "bytes", "pickle"])
@pytest.mark.parametrize("meta", [Nameless, Closed])
async def test_a_type_whose_metaclass_raises_is_refused(name: str, meta: type[type]) -> None:
    value = type.__call__(meta, "Odd", (), {})()
    store = stack().serialize(name).over(MemoryStore())
    for wrapped in (value, [value], {"a": value}):
        with pytest.raises(SerializationError) as raised:
            await store.put("key", wrapped)
        assert "secret" not in str(raised.value)
    with pytest.raises(SerializationError, match="Odd"):
        await store.put("key", value)
