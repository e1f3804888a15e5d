"""`store.typed(Model)`: instances in, instances out, for every kind of model."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import subprocess
import sys
import traceback
import typing
import uuid
from typing import Any, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import (
    ConfigurationError,
    InvalidBatch,
    InvalidValue,
    KeyNotFound,
    MemoryStore,
    SerializationError,
    stack,
)

WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


class Colour(enum.Enum):
    RED = "red"


class PydanticUser(pydantic.BaseModel):
    name: str
    age: int
    seen: datetime.datetime = WHEN
    colour: Colour = Colour.RED


class StrictUser(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    name: str = pydantic.Field(alias="userName")
    seen: datetime.datetime

    @pydantic.computed_field
    @property
    def loud(self) -> str:
        return self.name.upper()


@dataclasses.dataclass
class DataUser:
    name: str
    age: int
    seen: datetime.datetime = WHEN
    ids: frozenset[uuid.UUID] = frozenset()
    by_number: dict[int, Colour] = dataclasses.field(default_factory=dict)


class StructUser(msgspec.Struct, rename="camel"):
    name: str
    age: int
    last_seen: datetime.datetime = WHEN


class DictUser(TypedDict):
    name: str
    age: int


@pydantic.dataclasses.dataclass
class PydanticDataUser:
    name: str
    age: int


MODELS = {
    PydanticUser: PydanticUser(name="ada", age=36),
    DataUser: DataUser("ada", 36, ids=frozenset({uuid.UUID(int=7)}), by_number={1: Colour.RED}),
    StructUser: StructUser("ada", 36),
    DictUser: {"name": "ada", "age": 36},
    PydanticDataUser: PydanticDataUser("ada", 36),
    list[PydanticUser]: [PydanticUser(name="ada", age=36)],
    list[StructUser]: [StructUser("ada", 36)],
    StrictUser: StrictUser(userName="ada", seen=WHEN),
}


@pytest.fixture(params=MODELS.items(), ids=lambda item: str(item[0]))
def case(request):
    return request.param


async def test_instances_come_back_equal(case):
    model, value = case
    users = stack().clamp_ttl(maximum=60).over(MemoryStore()).typed(model, collection="users")
    await users.put("a", value, ttl=30)
    await users.put_many(["b", "c"], [value, value])
    assert await users.get("a") == value
    assert await users.get_many(["a", "x", "c"]) == [value, None, value]
    found, left = await users.ttl("a")
    assert found == value
    assert 0 < left <= 30
    assert await users.require("b") == value
    assert [pair async for pair in users.items()] == [(key, value) for key in "abc"]
    assert await users.keys() == ["a", "b", "c"]
    assert await users.keys(prefix="b") == ["b"]
    assert [key async for key in users.scan(prefix="b")] == ["b"]
    assert await users.store.keys() == []
    assert await users.store.count() == await users.store.delete_where() == 0
    assert type(await users.get("a")) is type(value)


async def test_every_method_of_the_view(case):
    model, value = case
    users = MemoryStore().typed(model)
    assert await users.put_if_absent("a", value)
    assert not await users.put_if_absent("a", value)
    version = (await users.get_versioned("a")).version
    assert await users.compare_and_put("a", value, version)
    assert not await users.compare_and_put("a", value, version)
    assert (await users.get_versioned("a")).value == value
    await users.put_many(["c", "d"], [value, value], ttl=[5, None])
    assert [left is None for _, left in await users.ttl_many(["c", "d"])] == [False, True]
    version = (await users.get_versioned("c")).version
    assert not await users.compare_and_delete("c", version ^ 1)
    assert await users.compare_and_delete("c", version)
    assert await users.get("c") is None
    assert await users.delete_where(prefix="d") == 1
    assert await users.count(prefix="a") == await users.count() == 1
    assert await users.get_versioned("x") is None
    assert await users.get_or_put("a", lambda: pytest.fail("there is one")) == value
    assert await users.get_or_put("b", lambda: value, ttl=5) == value

    async def make():
        return value

    assert await users.get_or_put("c", make) == value
    assert await users.expire("b", None)
    assert await users.exists("b")
    assert await users.pop("b") == value
    assert await users.pop("b") is None
    assert await users.delete("c")
    assert await users.delete_many(["a", "b"]) == 1
    with pytest.raises(KeyNotFound):
        await users.require("a")


SECRET = "hunter2"


@pytest.mark.parametrize("model", [PydanticUser, DataUser, StructUser, DictUser, PydanticDataUser])
@pytest.mark.parametrize(
    "stored",
    [{"name": "ada"}, {"name": "ada", "age": SECRET}, SECRET, [SECRET], None],
    ids=["missing field", "wrong type", "string", "list", "null"],
)
async def test_stored_values_of_another_shape_are_refused_without_being_quoted(model, stored):
    store = MemoryStore()
    await store.put("a", stored, collection="users")
    users = store.typed(model, collection="users")
    with pytest.raises(InvalidValue) as caught:
        await users.get("a")
    text = "".join(__import__("traceback").format_exception(caught.value))
    assert SECRET not in text.split("InvalidValue")[-1]
    assert "key 'a'" in str(caught.value)
    assert "collection 'users'" in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(InvalidValue):
        _ = [pair async for pair in users.items()]


async def test_names_inside_a_value_are_not_quoted_either():
    class Grades(pydantic.BaseModel):
        by_pupil: dict[str, int]

    @dataclasses.dataclass
    class PlainGrades:
        by_pupil: dict[str, int]

    store = MemoryStore()
    await store.put("a", {"by_pupil": {SECRET: "x"}})
    for model in (Grades, PlainGrades):
        with pytest.raises(InvalidValue, match=r"by_pupil.*\[\.\.\.\]") as caught:
            await store.typed(model).get("a")
        assert SECRET not in str(caught.value)


async def test_unknown_fields_and_texts_of_the_model_are_not_quoted():
    class Closed(msgspec.Struct, forbid_unknown_fields=True):
        name: str

    @dataclasses.dataclass
    class Picky:
        name: str

        def __post_init__(self):
            raise ValueError(f"Expected `int`, got {self.name}")

    store = MemoryStore()
    await store.put("a", {"name": SECRET, SECRET: 1})
    for model in (Closed, Picky):
        with pytest.raises(InvalidValue, match=r"must be a valid .*: invalid value") as caught:
            await store.typed(model).get("a")
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "stored", "message"),
    [
        (DataUser, {"name": "ada", "age": "old"}, r"expected `int`, got `str` at `\$\.age`"),
        (StructUser, {"name": "ada"}, "object missing required field `age`"),
        (PydanticUser, {"name": 1}, "string_type at `name`, missing at `age`"),
        (list[PydanticUser], [{"name": "ada", "age": "x"}], r"int_parsing at `\[...\].age`"),
    ],
)
async def test_the_message_names_the_field(model, stored, message):
    store = MemoryStore()
    await store.put("a", stored)
    with pytest.raises(InvalidValue, match=f"the stored value must be a valid .*: {message}"):
        await store.typed(model).get("a")


async def test_the_message_for_an_instance_of_another_class():
    users = MemoryStore().typed(DataUser)
    message = "the value must be a valid DataUser: expected DataUser, got dict"
    with pytest.raises(InvalidValue, match=message):
        await users.put("a", {"name": "ada", "age": 36})


async def test_invalid_values_can_be_treated_as_missing():
    store = MemoryStore()
    await store.put_many(["bad", "good"], [{"age": "x"}, {"name": "ada", "age": 36}])
    users = store.typed(DataUser, on_invalid="ignore")
    good = DataUser("ada", 36)
    assert await users.get("bad") is None
    assert await users.ttl("bad") == (None, None)
    assert await users.get_many(["bad", "good"]) == [None, good]
    assert [pair async for pair in users.items()] == [("good", good)]
    with pytest.raises(KeyNotFound):
        await users.require("bad")
    assert await users.get_or_put("bad", lambda: good) == good
    assert await users.get("bad") == good


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (DataUser, DataUser("ada", "old")),
        (DataUser, DataUser("ada", 1, ids={object()})),
        (DataUser, {"name": "ada", "age": 3}),
        (StructUser, StructUser(3, 3)),
        (StructUser, DataUser("ada", 36)),
        (DictUser, {"name": "ada"}),
        (DictUser, {"name": "ada", "age": SECRET}),
        (PydanticUser, PydanticUser.model_construct(name="ada", age=SECRET)),
        (PydanticUser, DataUser("ada", 36)),
        (PydanticUser, None),
    ],
)
async def test_an_instance_that_would_not_load_again_is_refused_before_it_is_written(model, value):
    users = MemoryStore().typed(model)
    with pytest.raises(InvalidValue) as caught:
        await users.put("a", value)
    assert SECRET not in str(caught.value)
    with pytest.raises(InvalidValue):
        await users.put_many(["b", "a"], [MODELS[model], value])
    assert await users.keys() == []


async def test_nan_is_refused_as_everywhere():
    @dataclasses.dataclass
    class Score:
        points: float

    with pytest.raises((SerializationError, InvalidValue)):
        await MemoryStore().typed(Score).put("a", Score(float("nan")))


async def test_batches_are_checked():
    users = MemoryStore().typed(DictUser)
    with pytest.raises(InvalidBatch):
        await users.put_many(["a"], [])
    with pytest.raises(InvalidBatch):
        await users.get_many("ab")


async def test_another_collection_can_be_named():
    users = MemoryStore().typed(DictUser, collection="users")
    await users.put("a", {"name": "ada", "age": 1}, collection="others")
    assert await users.get("a") is None
    assert await users.get("a", collection="others") == {"name": "ada", "age": 1}


@pytest.mark.parametrize("model", [object, "User", lambda: 1, typing.Callable])
def test_other_types_than_models_are_refused(model):
    with pytest.raises(ConfigurationError, match=r"`model` must be a pydantic model, .*; got "):
        MemoryStore().typed(model)


def test_on_invalid_is_one_of_two():
    with pytest.raises(ConfigurationError, match="`on_invalid` must be 'raise' or 'ignore'"):
        MemoryStore().typed(DictUser, on_invalid="skip")


def test_pydantic_is_not_loaded_for_other_models():
    code = (
        "import sys, dataclasses, kvwrap\n"
        "@dataclasses.dataclass\n"
        "class User: name: str\n"
        "kvwrap.MemoryStore().typed(User)\n"
        "assert 'pydantic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@given(
    st.builds(
        DataUser,
        st.text(st.characters(exclude_categories=["Cs"])),
        st.integers(-(2**63), 2**63 - 1),
        st.datetimes(timezones=st.just(datetime.UTC)),
        st.frozensets(st.uuids(), max_size=3),
        st.dictionaries(st.integers(0, 2**31), st.sampled_from(Colour), max_size=3),
    )
)
async def test_any_dataclass_comes_back_unchanged(user):
    users = MemoryStore().typed(DataUser)
    await users.put("a", user)
    assert await users.get("a") == user


@pytest.mark.parametrize("kind", ["dataclass", "pydantic", "struct"])
async def test_an_error_of_the_models_own_code_shows_no_value(kind: str) -> None:
    model: Any
    if kind == "pydantic":

        class Model(pydantic.BaseModel):
            x: str

            @pydantic.field_validator("x")
            @classmethod
            def check(cls, x: str) -> str:
                raise ZeroDivisionError(f"no {x}")

        model = Model
    else:

        class Base:
            def __post_init__(self) -> None:
                raise ZeroDivisionError(f"no {self.x}")  # type: ignore[attr-defined]

        if kind == "dataclass":

            @dataclasses.dataclass
            class Data(Base):
                x: str

            model = Data
        else:

            class Struct(msgspec.Struct):
                x: str
                __post_init__ = Base.__post_init__

            model = Struct
    store = MemoryStore()
    await store.put("k", {"x": "hunter2"})
    with pytest.raises(InvalidValue, match="own code raised ZeroDivisionError") as caught:
        await store.typed(model).get("k")
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    assert await store.typed(model, on_invalid="ignore").get("k") is None
