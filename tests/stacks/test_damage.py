"""Bytes altered in the backend under whole stacks: a typed error, never a wrong value."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from kvwrap import (
    CorruptEntry,
    DecryptionError,
    Keyring,
    RedisStore,
    SQLiteStore,
    Stack,
    Store,
    adapt,
    stack,
)

KEYRING = Keyring({"k": b"k" * 32})
STACKS: dict[str, Callable[[], Stack]] = {
    "bare": stack,
    "msgpack": lambda: stack().serialize("msgpack").prefix_key("app-"),
    "zstd": lambda: stack().compress(min_size=0),
    "lz4": lambda: stack().compress("lz4", min_size=0),
    "encrypted": lambda: stack().encrypt(KEYRING),
    "whole": lambda: (
        stack()
        .statistics()
        .clamp_ttl(minimum=1)
        .prefix_collection("app-")
        .compress(min_size=0)
        .encrypt(KEYRING)
    ),
}
VALUES = {("c", "a"): {"n": "x" * 100}, ("c", "b"): {"n": "y" * 100}, ("d", "a"): {"n": "z" * 100}}


class Dictionary:
    """A backend whose bytes can be read and set without the store."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def store(self) -> Store:
        return adapt(self.held)

    def all(self) -> dict[str, bytes]:
        return dict(self.held)

    def set(self, name: str, data: bytes) -> None:
        self.held[name] = data


class Rows:
    def __init__(self, path: Path) -> None:
        self.path = path

    def store(self) -> Store:
        return SQLiteStore(self.path)

    def all(self) -> dict[str, bytes]:
        with closing(sqlite3.connect(self.path)) as connection:
            return dict(connection.execute("SELECT collection || '/' || key, entry FROM kvwrap"))

    def set(self, name: str, data: bytes) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(
                "UPDATE kvwrap SET entry = ? WHERE collection || '/' || key = ?", (data, name)
            )


class Server:
    def __init__(self, url: str, namespace: str) -> None:
        self.url, self.namespace = url, namespace
        self.client = redis.Redis.from_url(url)

    def store(self) -> Store:
        return RedisStore(self.url, namespace=self.namespace)

    def all(self) -> dict[str, bytes]:
        names = self.client.keys(self.namespace + ":*")
        return {name.decode(): self.client.get(name) for name in names}

    def set(self, name: str, data: bytes) -> None:
        self.client.set(name, data)


@pytest.fixture(params=["dict", "sqlite", "redis"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Dictionary | Rows | Server]:
    match request.param:
        case "dict":
            yield Dictionary()
        case "sqlite":
            yield Rows(tmp_path / "entries.db")
        case _:
            server = Server(request.getfixturevalue("redis_url"), f"damage-{tmp_path.name}")
            yield server
            server.client.close()


def corruptions(whole: bytes, others: list[bytes]) -> Iterator[bytes]:
    for length in (*range(40), len(whole) // 2, len(whole) - 1):
        yield whole[:length]
    for index in (*range(40), *range(40, len(whole), 7), len(whole) - 1):
        for mask in (0x01, 0x80, 0xFF):
            yield whole[:index] + bytes((whole[index] ^ mask,)) + whole[index + 1 :]
    yield from (whole + b"\0", whole * 2, b"\0" + whole)
    yield from (b"hello", b"null", b'{"n": 1}', b"\x80\x04N.", b"\xabk", b"\xabk\x01" + bytes(40))
    yield from others


@pytest.mark.parametrize("layers", STACKS)
async def test_altered_bytes_are_never_a_value(
    layers: str, backend: Dictionary | Rows | Server
) -> None:
    async with STACKS[layers]().over(backend.store()) as store:
        for (collection, key), value in VALUES.items():
            await store.put(key, value, collection=collection, ttl=1000)
        held = backend.all()
        name = await name_in_backend(store, backend, held)
        others = [data for other, data in held.items() if other != name]
        assert len(others) == 2
        for data in corruptions(held[name], others):
            backend.set(name, data)
            with pytest.raises((CorruptEntry, DecryptionError)) as raised:
                await store.get("a", collection="c")
            error = raised.value
            assert error.key is not None
            assert "xxx" not in str(error)
        for read in (
            lambda: store.get_many(["b", "a"], collection="c"),
            lambda: store.ttl("a", collection="c"),
            lambda: store.require("a", collection="c"),
            lambda: store.pop("a", collection="c"),
            lambda: store.move("a", "elsewhere", collection="c"),
            lambda: store.increment("a", collection="c"),
            lambda: store.get_or_put("a", dict, collection="c"),
        ):
            with pytest.raises((CorruptEntry, DecryptionError)):
                await read()
        assert await store.get("b", collection="c") == VALUES["c", "b"]
        backend.set(name, held[name])
        assert await store.get("a", collection="c") == VALUES["c", "a"]


async def name_in_backend(
    store: Store, backend: Dictionary | Rows | Server, held: dict[str, bytes]
) -> str:
    """Return the name under which the backend has the key `a` of the collection `c`."""
    for name, data in held.items():
        backend.set(name, b"")
        try:
            await store.get("a", collection="c")
        except CorruptEntry:
            return name
        finally:
            backend.set(name, data)
    raise AssertionError("the backend does not have the entry")
