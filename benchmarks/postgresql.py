"""`PostgreSQLStore`, compared with statements over one connection and over a pool of the driver."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import orjson
from key_value.aio.stores.postgresql import PostgreSQLStore as TheirStore

from benchmarks import round_trips
from benchmarks.table import Row
from kvwrap import PostgreSQLStore
from kvwrap.testing.servers import PostgreSQLServer

TABLE = (
    "CREATE TABLE bare (collection bytea, key bytea, expires_at bigint, version bigint, "
    "entry bytea, PRIMARY KEY (collection, key))"
)
GET = "SELECT entry FROM bare WHERE collection = $1 AND key = $2"
GET_MANY = "SELECT key, entry FROM bare WHERE collection = $1 AND key = ANY($2::bytea[])"
PUT = (
    "INSERT INTO bare VALUES ($1, $2, $3, $4, $5) ON CONFLICT (collection, key) DO UPDATE "
    "SET expires_at = excluded.expires_at, version = excluded.version, entry = excluded.entry"
)
PUT_MANY = PUT.replace(
    "VALUES ($1, $2, $3, $4, $5)",
    "SELECT $1, * FROM unnest($2::bytea[], $3::bigint[], $4::bigint[], $5::bytea[])",
)


async def rows() -> AsyncIterator[Row]:
    """Measure round trips to a server that does not wait for its disk.

    One connection serves one task at a time. Many can use a pool, as they can the store; the
    driver's resets a connection after every use, in one more round trip.
    """
    with PostgreSQLServer() as server:
        pool = await asyncpg.create_pool(server.url)
        await pool.execute(TABLE)
        connection = await asyncpg.connect(server.url)
        async with PostgreSQLStore(server.url) as store, TheirStore(url=server.url) as peer:
            async for row in round_trips.rows("`PostgreSQLStore`", store, _bare(connection), peer):
                yield row
            title = "`PostgreSQLStore`, compared with the driver's pool"
            async for row in round_trips.rows(title, store, _bare(pool)):
                yield row
        await connection.close()
        await pool.close()


def _bare(driver: Any) -> round_trips.Bare:
    """Return the calls of a pool or a connection."""

    async def get(key: str) -> Any:
        return orjson.loads(await driver.fetchval(GET, b"c", key.encode()))

    async def put(key: str, value: Any) -> None:
        await driver.execute(PUT, b"c", key.encode(), None, 1, orjson.dumps(value))

    async def get_many(keys: list[str]) -> Any:
        found = dict(await driver.fetch(GET_MANY, b"c", [key.encode() for key in keys]))
        return [orjson.loads(found[key.encode()]) for key in keys]

    async def put_many(keys: list[str], values: list[Any]) -> None:
        names = [key.encode() for key in keys]
        entries = [orjson.dumps(value) for value in values]
        nothing, versions = [None] * len(keys), list(range(len(keys)))
        await driver.execute(PUT_MANY, b"c", names, nothing, versions, entries)

    return round_trips.Bare(get, put, get_many, put_many)
