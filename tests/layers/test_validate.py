"""What Validate refuses, where it looks, and that it never quotes a value."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NewType, TypedDict

import msgspec
import pydantic
import pytest

from kvwrap import (
    ConfigurationError,
    InvalidValue,
    MemoryStore,
    StackWarning,
    Validate,
    stack,
)


@dataclass
class Point:
    x: int
    y: int = 0


class Row(TypedDict):
    x: int


class Struct(msgspec.Struct, forbid_unknown_fields=True):
    x: Annotated[int, msgspec.Meta(ge=0)]
    kind: Literal["red", "blue"] = "red"


class Model(pydantic.BaseModel, extra="forbid"):
    x: int
    names: dict[str, int] = {}


@pydantic.dataclasses.dataclass
class PydanticPoint:
    x: int


def checked(check, **options):
    return stack().validate(check, **options).over(MemoryStore())


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (Point, {"x": 1, "y": 2}, {"x": "secret"}),
        (Point, {"x": 1}, {}),
        (Row, {"x": 1}, {"x": 1.5}),
        (Struct, {"x": 1}, {"x": -1}),
        (Struct, {"x": 1, "kind": "blue"}, {"x": 1, "kind": "secret"}),
        (Struct, {"x": 1}, {"x": 1, "secret": 1}),
        (Model, {"x": 1}, {"x": "secret"}),
        (Model, {"x": 1}, {"x": 1, "secret": 2}),
        (Model, {"x": 1, "names": {"a": 1}}, {"x": 1, "names": {"secret": "secret"}}),
        (PydanticPoint, {"x": 1}, {"x": "secret"}),
        (list[int], [1, 2], ["secret"]),
        (int | str, "a", [1]),
        (NewType("Name", str), "a", 1),
        (Annotated[str, msgspec.Meta(max_length=3)], "abc", "secret"),
        (lambda value, key, collection: value != "secret", "fine", "secret"),
    ],
)
async def test_what_passes_is_put_and_what_does_not_is_refused_unquoted(check, good, bad):
    store = checked(check)
    await store.put("a", good)
    assert await store.get("a") == good
    with pytest.raises(InvalidValue) as caught:
        await store.put("b", bad, collection="c")
    assert (caught.value.collection, caught.value.key) == ("c", "b")
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    assert not await store.exists("b", collection="c")


@pytest.mark.parametrize(
    ("check", "value", "told"),
    [
        (Point, {"x": "1"}, r"not Point at \$\.x: Expected `int`, got `str`"),
        (Point, {}, "Object missing required field `x`"),
        (Model, {"x": "one"}, r"not Model: x \(int_parsing\)"),
        (Model, {}, r"not Model: x \(missing\)"),
    ],
)
async def test_the_refusal_says_which_field(check, value, told):
    with pytest.raises(InvalidValue, match=told):
        await checked(check).put("a", value)


async def test_one_bad_value_keeps_a_whole_batch_out():
    store = checked(int)
    with pytest.raises(InvalidValue):
        await store.put_many(["a", "b"], [1, "x"])
    assert await store.keys() == []


async def test_a_function_sees_key_and_collection():
    seen = []

    def check(value, key, collection):
        seen.append((value, key, collection))

    store = checked(check)
    await store.put("a", 1, collection="c")
    await store.put("b", 0)
    assert seen == [(1, "a", "c"), (0, "b", None)]


async def test_what_a_function_raises_is_not_shown_but_for_its_own_refusal():
    def check(value, key, collection):
        if key == "own":
            raise InvalidValue("age is too low")
        raise ValueError(f"{value} is bad")

    store = checked(check)
    value = "secret"
    with pytest.raises(InvalidValue, match=r"check refused the value: it raised ValueError") as e:
        await store.put("a", value)
    assert "secret" not in "".join(traceback.format_exception(e.value))
    with pytest.raises(InvalidValue, match="age is too low") as e:
        await store.put("own", "secret")
    assert e.value.key == "own"


async def test_increments_are_checked_as_well():
    store = checked(lambda value, key, collection: value <= 2)
    assert await store.increment("n", 2) == 2
    with pytest.raises(InvalidValue):
        await store.increment("n")
    assert await store.get("n") == 2


async def test_the_value_stays_as_it_was_put():
    store = checked(Point)
    await store.put("a", {"x": 1, "more": 2})
    assert await store.get("a") == {"x": 1, "more": 2}
    store = checked(PydanticPoint)
    await store.put("a", {"x": "5"})  # pydantic takes it for an int, and so it passes
    assert await store.get("a") == {"x": "5"}


@pytest.mark.parametrize("check", [Point, PydanticPoint, Model, Struct])
async def test_unless_it_is_to_be_made_what_the_type_says(check):
    store = checked(check, coerce=True)
    await store.put("a", {"x": "5"})
    assert (await store.get("a"))["x"] == 5
    with pytest.raises(InvalidValue):
        await store.put("a", {"x": "five"})


async def test_coercing_fills_in_defaults_and_takes_instances():
    store = checked(Point, coerce=True)
    await store.put("a", {"x": 1})
    assert await store.get("a") == {"x": 1, "y": 0}
    await store.put("a", Point(3, 4))
    assert await store.get("a") == {"x": 3, "y": 4}


async def stored(value, **options):
    base = MemoryStore()
    await base.put("a", value)
    return stack().validate(int, **options).over(base)


async def test_reading_does_not_look_unless_asked():
    assert await (await stored("x")).get("a") == "x"


async def test_reading_may_refuse():
    store = await stored("secret", on_read="raise")
    for read in (store.get("a"), store.require("a"), store.ttl("a")):
        with pytest.raises(InvalidValue) as caught:
            await read
        assert caught.value.key == "a"
        assert "secret" not in str(caught.value)
    assert await (await stored(1, on_read="raise")).get("a") == 1


async def test_reading_may_take_it_for_missing():
    store = await stored("x", on_read="missing")
    assert await store.get("a") is None
    assert await store.get_many(["a"]) == [None]
    assert await (await stored(1, on_read="missing")).get("a") == 1


async def test_it_sees_the_users_values_wherever_it_stands():
    store = stack().compress(min_size=0).validate(Point).over(MemoryStore())
    await store.put("a", {"x": 1})
    with pytest.raises(InvalidValue):
        await store.put("a", {"x": "1"})


def test_twice_the_same_is_a_known_mistake():
    with pytest.warns(StackWarning, match="validate-twice"):
        stack().validate(int).validate(int).over(MemoryStore())
    both = stack().validate(int).validate(lambda v, k, c: v > 0).over(MemoryStore())
    assert both.findings == ()


@pytest.mark.parametrize(
    ("check", "options"),
    [
        (int, {"on_read": "skip"}),
        (lambda value, key, collection: True, {"coerce": True}),
        (5, {}),
        ("Point", {}),
        (dict[Any, Any] | dict[str, int], {}),
    ],
)
def test_what_cannot_work_is_refused(check, options):
    with pytest.raises(ConfigurationError):
        Validate(check, **options)
