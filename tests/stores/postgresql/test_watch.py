"""PostgreSQLStore: changes are told with `notify=True`, and what may have been missed too."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from kvwrap import (
    Capability,
    ChangeKind,
    PostgreSQLStore,
    Store,
    StoreUnavailable,
    UnsupportedOperation,
)
from kvwrap.core.changes import Scope
from kvwrap.testing import ManualClock
from kvwrap.testing.contract.watch import Watching
from kvwrap.testing.servers import PgBouncerServer, PostgreSQLServer
from tests.stores.redis.proxy import Proxy
from tests.stores.told import Told

WRITER = """
import asyncio, sys
from kvwrap import PostgreSQLStore
async def main():
    async with PostgreSQLStore(sys.argv[1], table=sys.argv[2], notify=True, timeout=60) as store:
        for number in range(50):
            await store.put(f"k{number}", number, collection=sys.argv[3])
asyncio.run(main())
"""


def _lost(told: Told, times: int) -> bool:
    return told.losses >= times


def _has(told: Told, *names: tuple[str | None, str]) -> bool:
    return set(names) <= told.names


class TestContract(Watching):
    """A table whose stores notify."""

    @pytest_asyncio.fixture
    async def store(
        self, url: str, table: str, admin: Any, clock: ManualClock
    ) -> AsyncIterator[Store]:
        async with PostgreSQLStore(url, table=table, notify=True, clock=clock) as store:
            yield store


@pytest_asyncio.fixture
async def watched(url: str, table: str, admin: Any) -> AsyncIterator[PostgreSQLStore]:
    async with PostgreSQLStore(url, table=table, notify=True) as store:
        yield store


async def test_what_other_processes_write_is_told(
    url: str, table: str, watched: PostgreSQLStore
) -> None:
    async with Told(watched) as told:
        writers = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", WRITER, url, table, f"c{number}"
            )
            for number in range(2)
        ]
        assert [await writer.wait() for writer in writers] == [0, 0]
        for number in range(2):
            await told.until(partial(_has, told, *((f"c{number}", f"k{n}") for n in range(50))))
        assert told.kinds == {ChangeKind.CHANGED}


async def test_before_heard_at_everything_was_told(watched: PostgreSQLStore) -> None:
    async with Told(watched) as told:
        for number in range(20):
            await watched.put("k", number)
            written = watched.clock.monotonic()
            await told.until(partial(_is_heard, told, written))
            assert told.take() == {(None, "k")}


def _is_heard(told: Told, moment: float) -> bool:
    return told.heard_at > moment


async def test_what_has_no_names_is_lost(watched: PostgreSQLStore, admin: Any, table: str) -> None:
    async with Told(watched) as told, Told(watched, Scope("other")) as other:
        await watched.put("k", 1, collection="c")
        await watched.destroy_collection("c")
        await told.until(partial(_lost, told, 1))
        await watched.put("k" * 8000, 1, collection="c")
        await told.until(partial(_lost, told, 2))
        assert other.losses == 0
        await admin.execute(f"NOTIFY \"{table}\", 'what another program sends'")
        await other.until(partial(_lost, other, 1))


async def test_a_connection_that_is_ended_and_a_restarted_server(
    own_server: PostgreSQLServer,
) -> None:
    async with PostgreSQLStore(own_server.url, notify=True) as store, Told(store) as told:
        other = await asyncpg.connect(own_server.url)
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        await other.close()
        await told.until(partial(_lost, told, 2))
        own_server.kill()
        await told.until(partial(_lost, told, 3))
        heard = told.heard_at
        own_server.start()
        await told.until(partial(_lost, told, 4))
        await told.until(lambda: told.heard_at > heard)
        async with PostgreSQLStore(own_server.url, notify=True, timeout=60) as writer:
            await told.hears((None, "k"), lambda: writer.put("k", 1))


async def test_a_link_that_swallows_bytes_is_heard_no_more(
    server: PostgreSQLServer, url: str, table: str, watched: PostgreSQLStore
) -> None:
    async with Proxy(server.port) as proxy:
        leading = url.replace(str(server.port), str(proxy.port))
        async with (
            PostgreSQLStore(leading, table=table, notify=True, timeout=1) as store,
            Told(store) as told,
        ):
            proxy.hold()
            held = store.clock.monotonic()
            await told.until(partial(_lost, told, 1))
            assert told.heard_at < held
            await told.until(partial(_lost, told, 2))  # over a new connection
            await told.hears((None, "k"), lambda: watched.put("k", 1))
            proxy.release()


async def test_without_notify_there_is_no_watch(store: PostgreSQLStore) -> None:
    assert Capability.WATCH not in store.capabilities
    with pytest.raises(UnsupportedOperation, match="without notify=True"):
        await store.subscribe(Scope(), print)


@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
async def test_a_pooler_carries_notifications_and_nobody_listens_through_it(
    server: PostgreSQLServer, table: str, watched: PostgreSQLStore, mode: str
) -> None:
    with PgBouncerServer(server, mode=mode) as bouncer:
        async with (
            PostgreSQLStore(bouncer.url, table=table, notify=True) as store,
            Told(watched) as told,
        ):
            await store.put("k", 1)
            await told.until(partial(_has, told, (None, "k")))
            with pytest.raises(UnsupportedOperation, match="a pooler such as pgbouncer"):
                await store.subscribe(Scope(), print)
            assert Capability.WATCH not in store.capabilities
            await store.check()
            assert await store.get("k") == 1


async def test_a_pool_of_the_user_lends_one_connection(
    url: str, table: str, watched: PostgreSQLStore
) -> None:
    async with (
        asyncpg.create_pool(url, min_size=1, max_size=2) as pool,
        PostgreSQLStore(client=pool, table=table, notify=True) as store,
    ):
        async with Told(store) as told:
            await watched.put("k", 1)
            await told.until(partial(_has, told, (None, "k")))
            assert pool.get_size() - pool.get_idle_size() == 1
        assert pool.get_size() - pool.get_idle_size() == 0
        await store.put("k", 2)


async def test_a_server_that_is_away_at_first(own_server: PostgreSQLServer) -> None:
    async with PostgreSQLStore(own_server.url, notify=True, timeout=2) as store:
        own_server.kill()
        with pytest.raises(StoreUnavailable):
            await store.subscribe(Scope(), print)
        own_server.start()
        async with Told(store) as told:
            await store.put("k", 1)
            await told.until(partial(_has, told, (None, "k")))


@pytest.mark.parametrize("is_closed", [True, False])
def test_one_event_loop_after_another(
    url: str, table: str, store: PostgreSQLStore, is_closed: bool
) -> None:
    del store  # which drops the table at its end
    watched = PostgreSQLStore(url, table=table, notify=True)

    async def use() -> None:
        tasks = asyncio.all_tasks()
        told = Told(watched)
        await told.open()
        await watched.put("k", 1)
        await told.until(partial(_has, told, (None, "k")))
        if is_closed:
            await told.close()
            assert asyncio.all_tasks() <= tasks

    for _ in range(2):
        asyncio.run(use())
    asyncio.run(watched.close())
