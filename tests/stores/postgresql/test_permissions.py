"""PostgreSQLStore: users with few rights, and what a table needs to come about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from kvwrap import AccessDenied, Capability, ConfigurationError, PostgreSQLStore, stack
from kvwrap.core.missing import NotThereYet
from kvwrap.testing.servers import PostgreSQLServer


@pytest_asyncio.fixture
async def user(admin: Any, server: PostgreSQLServer, table: str) -> AsyncIterator[str]:
    """Yield the URL of a user without rights, whose name is that of the table with a `u`."""
    await admin.execute(f"CREATE ROLE u{table} LOGIN PASSWORD 'pw'")
    yield f"postgresql://u{table}:pw@127.0.0.1:{server.port}/postgres"
    await admin.execute(f"DROP OWNED BY u{table}; DROP ROLE u{table}")


async def test_a_user_who_may_only_read(url: str, user: str, admin: Any, table: str) -> None:
    async with PostgreSQLStore(url, table=table) as store:
        await store.put("a", 1)
    await admin.execute(f'GRANT SELECT ON "{table}" TO u{table}')
    async with PostgreSQLStore(user, table=table) as reader:
        assert reader.capabilities == {
            Capability.KEYS,
            Capability.RANGE,
            Capability.COLLECTIONS,
            Capability.PERSISTENT,
            Capability.SHARED,
        }
        assert await reader.get("a") == 1
        assert await reader.keys() == ["a"]
        assert await reader.count() == 1
        for call in (
            reader.put("a", 2),
            reader.put_many(["a", "b"], [2, 2]),
            reader.put_if_absent("b", 2),
            reader.delete("a"),
            reader.expire("a", 5),
        ):
            with pytest.raises(AccessDenied, match="does not permit this user"):
                await call
        stacked = stack().statistics().over(reader)
        assert Capability.CULL not in stacked.capabilities
        assert await reader.get("a") == 1


async def test_a_user_who_may_not_delete(url: str, user: str, admin: Any, table: str) -> None:
    async with PostgreSQLStore(url, table=table):
        pass
    await admin.execute(f'GRANT SELECT, INSERT, UPDATE ON "{table}" TO u{table}')
    async with PostgreSQLStore(user, table=table) as writer:
        assert Capability.COMPARE_AND_PUT in writer.capabilities
        assert Capability.DESTROY not in writer.capabilities
        # Nor does it free what expired by the way.
        await writer.put_many([f"k{number}" for number in range(600)], [1] * 600, ttl=1)
        await writer.put("a", 1)
        assert await writer.increment("n") == 1


async def test_a_user_without_any_right(url: str, user: str, table: str, admin: Any) -> None:
    async with PostgreSQLStore(url, table=table):
        pass
    async with PostgreSQLStore(user, table=table) as store:
        assert store.capabilities == {Capability.PERSISTENT, Capability.SHARED}
        with pytest.raises(AccessDenied, match=table):
            await store.get("a")


async def test_a_table_that_is_missing_and_may_not_be_created(user: str, table: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{table}.* must exist, or .* table="):
        async with PostgreSQLStore(user, table=table):
            pass


async def test_a_table_that_is_missing_and_could_not_be_created(
    user: str, url: str, table: str
) -> None:
    for store, may_come in (
        (PostgreSQLStore(url, table=table), True),
        (PostgreSQLStore(user, table=table), False),
        (PostgreSQLStore(url, table=f"s{table}.entries"), False),
    ):
        store.creates = False
        with pytest.raises(ConfigurationError, match=f"{table}.* must exist to be read") as caught:
            await store.get("a")
        assert isinstance(caught.value, NotThereYet) is may_come


async def test_a_table_in_a_schema(url: str, admin: Any, table: str) -> None:
    with pytest.raises(ConfigurationError, match="must exist"):
        await PostgreSQLStore(url, table=f"s{table}.entries").get("a")
    await admin.execute(f"CREATE SCHEMA s{table}")
    try:
        async with PostgreSQLStore(url, table=f"s{table}.entries") as store:
            await store.put("a", 1)
            assert await admin.fetchval(f"SELECT count(*) FROM s{table}.entries") == 1
    finally:
        await admin.execute(f"DROP SCHEMA s{table} CASCADE")


async def test_stores_that_create_the_table_at_once(url: str, table: str, admin: Any) -> None:
    stores = [PostgreSQLStore(url, table=table) for _ in range(8)]
    await asyncio.gather(*(store.put(str(number), 1) for number, store in enumerate(stores)))
    assert await stores[0].count() == 8
    await asyncio.gather(*(store.close() for store in stores))
