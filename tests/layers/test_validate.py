"""Validate: which values it refuses, when it checks, and that its errors never quote a value."""

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
async def test_a_valid_value_is_put_and_an_invalid_one_refused_without_quoting_it(check, good, bad):
    store = checked(check)
    await store.put("a", good)
    assert await store.get("a") == good
    with pytest.raises(InvalidValue) as caught:
        await store.put("b", bad, collection="c")
    assert (caught.value.collection, caught.value.key) == ("c", "b")
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    assert not await store.exists("b", collection="c")


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (Point, {"x": "1"}, r"a valid Point: expected `int`, got `str` at `\$\.x`"),
        (Point, {}, "a valid Point: object missing required field `x`"),
        (Struct, {"x": 1, "kind": "secret"}, r"a valid Struct: invalid value at `\$\.kind`"),
        (Struct, {"x": 1, "secret": 1}, "a valid Struct: invalid value"),
        (Model, {"x": "one"}, "a valid Model: int_parsing at `x`"),
        (Model, {}, "a valid Model: missing at `x`"),
        (
            Model,
            {"names": {"secret": "secret"}},
            r"a valid Model: missing at `x`, int_parsing at `names.\[...\]`",
        ),
        (list[Model], [{"x": 1}, {"x": "one"}], r"a valid list: int_parsing at `\[...\].x`"),
    ],
)
async def test_the_refusal_names_the_field(check, value, message):
    with pytest.raises(InvalidValue, match=f"the value must be {message}"):
        await checked(check).put("a", value)


async def test_the_text_of_an_exception_in_a_type_is_not_shown():
    @dataclass
    class Picky:
        x: str

        def __post_init__(self):
            raise ValueError(f"Expected `int`, got {self.x}")

    value = {"x": "secret"}
    with pytest.raises(InvalidValue, match="a valid Picky: invalid value") as caught:
        await checked(Picky).put("a", value)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


async def test_a_list_of_pydantic_models_is_a_type():
    store = checked(list[Model])
    await store.put("a", [{"x": 1}])
    assert await store.get("a") == [{"x": 1}]


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


async def test_an_exception_of_a_function_is_not_shown_except_its_own_refusal():
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


async def test_the_value_is_stored_unchanged():
    store = checked(Point)
    await store.put("a", {"x": 1, "more": 2})
    assert await store.get("a") == {"x": 1, "more": 2}
    store = checked(PydanticPoint)
    await store.put("a", {"x": "5"})  # pydantic reads it as an int, so it passes
    assert await store.get("a") == {"x": "5"}


@pytest.mark.parametrize("check", [Point, PydanticPoint, Model, Struct])
async def test_coercing_stores_the_value_as_the_type_converts_it(check):
    store = checked(check, coerce=True)
    await store.put("a", {"x": "5"})
    assert (await store.get("a"))["x"] == 5
    with pytest.raises(InvalidValue):
        await store.put("a", {"x": "five"})


async def test_coercing_fills_in_defaults_and_accepts_instances():
    store = checked(Point, coerce=True)
    await store.put("a", {"x": 1})
    assert await store.get("a") == {"x": 1, "y": 0}
    await store.put("a", Point(3, 4))
    assert await store.get("a") == {"x": 3, "y": 4}


async def stored(value, **options):
    base = MemoryStore()
    await base.put("a", value)
    return stack().validate(int, **options).over(base)


async def test_reading_does_not_check_by_default():
    assert await (await stored("x")).get("a") == "x"


async def test_reading_may_refuse():
    store = await stored("secret", on_read="raise")
    for read in (store.get("a"), store.require("a"), store.ttl("a")):
        with pytest.raises(InvalidValue) as caught:
            await read
        assert caught.value.key == "a"
        assert "secret" not in str(caught.value)
    assert await (await stored(1, on_read="raise")).get("a") == 1


async def test_reading_may_treat_it_as_missing():
    store = await stored("x", on_read="missing")
    assert await store.get("a") is None
    assert await store.get_many(["a"]) == [None]
    assert await (await stored(1, on_read="missing")).get("a") == 1


async def test_it_sees_the_users_values_at_every_position():
    store = stack().compress(min_size=0).validate(Point).over(MemoryStore())
    await store.put("a", {"x": 1})
    with pytest.raises(InvalidValue):
        await store.put("a", {"x": "1"})


def test_the_same_check_twice_is_a_known_mistake():
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
