"""PostgreSQLStore over a pool whose connections convert types by functions of its user's."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from kvwrap import ConfigurationError, PostgreSQLStore


def codec(name: str, encode: Callable[[Any], str], decode: Callable[[str], Any]) -> Any:
    """Return an `init` of a pool that sets a codec for a type."""

    async def init(connection: asyncpg.Connection) -> None:
        await connection.set_type_codec(
            name, schema="pg_catalog", encoder=encode, decoder=decode, format="text"
        )

    return init


@pytest.mark.parametrize(
    "init",
    [
        codec("bytea", lambda value: value, lambda text: text),
        codec("bytea", lambda value: base64.b64encode(value).decode(), base64.b64decode),
        codec("int8", str, str),
        codec("text", str, lambda text: text.upper()),
    ],
    ids=["bytea as text", "bytea as base64", "bigint as text", "text in capitals"],
)
async def test_types_that_the_store_uses(url: str, table: str, admin: Any, init: Any) -> None:
    async with asyncpg.create_pool(url, min_size=1, max_size=1, init=init) as pool:
        store = PostgreSQLStore(client=pool, table=table)
        with pytest.raises(ConfigurationError, match="set_type_codec"):
            await store.put("a", 1)


async def test_types_that_it_does_not_use(url: str, table: str, admin: Any) -> None:
    init = codec("jsonb", json.dumps, json.loads)
    async with asyncpg.create_pool(url, min_size=1, max_size=1, init=init) as pool:
        store = PostgreSQLStore(client=pool, table=table)
        await store.put_many(["a", "b"], [1, 2], ttl=60)
        assert await store.increment("a") == 2
        assert await store.keys() == ["a", "b"]
