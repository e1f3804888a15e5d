"""Stacks with a serializer of their choice."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from kvwrap import (
    Capability,
    ConfigurationError,
    CorruptEntry,
    Keyring,
    MemoryStore,
    Passthrough,
    Serialization,
    SerializationError,
    SQLiteStore,
    StackWarning,
    from_config,
    stack,
    to_config,
)
from kvwrap.core import codec
from kvwrap.core.capability import Capabilities


class Dates:
    """A serializer of an application."""

    name = "dates"

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value, default=date.isoformat).encode()

    def loads(self, data: bytes) -> Any:
        return date.fromisoformat(json.loads(data))


class Shared(Passthrough):
    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities | {Capability.SHARED}


VALUES = {
    "json": {"a": [1, 2.5, None, True, "é"], "b": 2**80},
    "msgpack": {"a": [1, 2.5, None, True, "é"], "b": b"\xff\x00"},
    "bytes": b"\xff\x00",
    "pickle": {date(2024, 1, 1), (1, 2)},
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("outside", [True, False])
async def test_values_are_restored_at_any_position_of_the_layer(name: Any, outside: bool) -> None:
    layers = [Serialization(name), Passthrough()]
    store = stack(*layers if outside else reversed(layers)).compress().over(MemoryStore())
    await store.put("k", VALUES[name])
    assert await store.get("k") == VALUES[name]
    found = (await store.base.read(None, ["k"]))[0]
    assert found is not None
    assert (
        codec.describe(found.codec)
        == {
            "json": "JSON",
            "msgpack": "MessagePack",
            "bytes": "bytes",
            "pickle": "a pickle",
        }[name]
    )


async def test_safe_formats_are_read_under_any_choice_and_a_pickle_is_not() -> None:
    base = MemoryStore()
    for name in ("json", "msgpack", "bytes", "pickle"):
        await stack().serialize(name).over(base).put(name, b"\x01" if name == "bytes" else [1])
    for name in ("json", "msgpack", "bytes", "pickle"):
        store = Serialization(name).over(base)  # type: ignore[arg-type]  # one of the four
        assert await store.get_many(["json", "msgpack", "bytes"]) == [[1], [1], b"\x01"]
        if name != "pickle":
            with pytest.raises(CorruptEntry, match="a pickle") as caught:
                await store.get("pickle")
            assert caught.value.key == "pickle"


async def test_a_serializer_of_an_application() -> None:
    base = MemoryStore()
    store = Serialization(Dates()).over(base)
    await store.put("k", date(2024, 2, 29))
    assert await store.get("k") == date(2024, 2, 29)
    with pytest.raises(CorruptEntry):
        await base.get("k")
    with pytest.raises(
        SerializationError, match="dates serializer refused a value of type object"
    ) as caught:
        await store.put("k", object())
    assert "object at" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("msgpack", {1, 2}), ("msgpack", 2**64), ("bytes", "text"), ("json", b"")]
)
async def test_values_that_would_not_be_restored_are_refused(name: Any, value: Any) -> None:
    store = Serialization(name).over(MemoryStore())
    with pytest.raises(SerializationError):
        await store.put("k", value)
    assert not await store.exists("k")


def test_invalid_serializers_are_refused() -> None:
    nameless, impostor, half = Dates(), Dates(), Dates()
    nameless.name = ""
    impostor.name = "json"
    half.loads = None  # type: ignore[method-assign, assignment]  # invalid on purpose
    for serializer in (nameless, impostor, half, json, None, 5):
        with pytest.raises(ConfigurationError):
            Serialization(serializer)  # type: ignore[arg-type]  # invalid on purpose
    with pytest.raises(ConfigurationError, match="did you mean 'msgpack'"):
        Serialization("msgpck")  # type: ignore[arg-type]  # invalid on purpose


def test_two_in_a_stack_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="at most one serialization layer"):
        stack().serialize("json").serialize("msgpack").over(MemoryStore())


def test_a_pickle_that_others_could_write_is_reported() -> None:
    shared = Shared().over(MemoryStore())
    with pytest.warns(StackWarning, match="pickle-unprotected"):
        stack().serialize("pickle").over(shared)
    keyring = Keyring({"k": b"k" * 32})
    for store in (
        stack().serialize("pickle").encrypt(keyring).over(shared),
        stack().serialize("msgpack").over(shared),
        stack().serialize("pickle").over(MemoryStore()),
    ):
        assert store.findings == ()


async def test_a_stack_reads_what_it_accepts_and_never_writes_it() -> None:
    base = MemoryStore()
    old = stack().serialize("json", accept=["pickle", Dates()]).over(base)
    pickles, dates = (stack().serialize(each).over(base) for each in ("pickle", Dates()))
    await pickles.put("pickle", VALUES["pickle"])
    await dates.put("date", date(2024, 1, 1))
    await old.put("json", [1])
    assert await old.get_many(["pickle", "date", "json"]) == [
        VALUES["pickle"],
        date(2024, 1, 1),
        [1],
    ]
    assert await pickles.get("json") == [1]
    with pytest.raises(SerializationError):
        await old.put("k", date(2024, 1, 1))
    with pytest.raises(CorruptEntry, match="reads only json"):
        await stack().serialize("json", accept=[Dates()]).over(base).get("pickle")


def test_accepting_pickle_is_a_finding_where_others_write(tmp_path: Path) -> None:
    with pytest.warns(StackWarning, match="pickle-unprotected"):
        stack().serialize("json", accept=["pickle"]).over(SQLiteStore(tmp_path / "a.db"))
    with pytest.raises(ConfigurationError, match="did you mean 'pickle'"):
        stack().serialize(accept=["pickel"])  # type: ignore[list-item]
    with pytest.raises(ConfigurationError, match="must be a list of serializers"):
        stack().serialize(accept="pickle")


def test_a_configuration_accepts_pickle_only_if_it_is_trusted_like_code() -> None:
    described = {
        "store": "memory://",
        "layers": [{"type": "serialize", "serializer": "json", "accept": ["pickle"]}],
    }
    with pytest.raises(ConfigurationError, match=r"layers\[0\]\.accept: pickle is refused"):
        from_config(described)
    store = from_config(described, python=True)
    assert "accept=['pickle']" in store.explain()
    assert to_config(store)["layers"] == described["layers"]
