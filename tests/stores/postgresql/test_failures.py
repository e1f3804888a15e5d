"""PostgreSQLStore: what goes wrong with the server, and the errors that say so."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from kvwrap import (
    ConfigurationError,
    PostgreSQLStore,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    stack,
)
from kvwrap.testing.servers import PostgreSQLServer
from kvwrap.testing.servers.certificates import make_certificates

SECRET = "hunter2"
COLUMNS = (
    "collection bytea, whole_collection bytea, key bytea, digest bytea, rest bytea, "
    "expires_at bigint, version bigint, entry bytea"
)


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def test_a_server_that_stops_and_comes_back(own_server: PostgreSQLServer) -> None:
    async with PostgreSQLStore(own_server.url) as store:
        await store.put("a", 1)
        await asyncio.gather(*(store.get("a") for _ in range(10)))
        own_server.kill()
        calls = (store.get("a"), store.put("a", 1), store.delete("a"), store.check())
        for call in calls:
            with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{own_server.port} ") as caught:
                await call
            assert caught.value.key == ("a" if call is not calls[-1] else None)
        own_server.start()
        assert await store.get("a") == 1
        own_server.restart()
        # The event loop has not seen yet that the connections were closed.
        assert await store.get("a") == 1
        assert await asyncio.gather(*(store.get("a") for _ in range(20))) == [1] * 20


async def test_a_store_can_be_opened_before_its_server(own_server: PostgreSQLServer) -> None:
    own_server.kill()
    async with PostgreSQLStore(own_server.url) as store:
        with pytest.raises(StoreUnavailable, match="connection was refused"):
            await store.put("a", 1)
        own_server.start()
        await store.put("a", 1)
        assert await store.get("a") == 1


async def test_a_server_that_ends_in_the_middle_of_a_batch(own_server: PostgreSQLServer) -> None:
    keys = [f"k{number}" for number in range(3000)]
    async with (
        PostgreSQLStore(own_server.url, timeout=30) as store,
        connected(own_server.url) as admin,
    ):
        await store.put_many(keys, ["old"] * 3000)
        # The second statement of the batch waits for a row.
        lock = admin.transaction()
        await lock.start()
        await admin.execute("UPDATE kvwrap SET version = version WHERE key = 'k1999'")
        waiting = asyncio.create_task(store.put_many(keys, ["new"] * 3000))
        await _until_one_waits(own_server)
        own_server.kill()
        with pytest.raises(StoreUnavailable) as caught:
            await waiting
        # Keys are written in their order.
        assert caught.value.succeeded == tuple(sorted(keys)[:1000])
        own_server.start()
        found = await store.get_many(sorted(keys))
        assert found == ["new"] * 1000 + ["old"] * 2000


async def _until_one_waits(server: PostgreSQLServer) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    async with connected(server.url) as other, asyncio.timeout(60):
        while not await other.fetchval(query):
            await asyncio.sleep(0.01)


async def test_a_server_that_does_not_answer(own_server: PostgreSQLServer) -> None:
    async with PostgreSQLStore(own_server.url, timeout=1, max_connections=4) as store:
        await store.put("a", 1)
        own_server.freeze()
        results = await asyncio.gather(*(store.get("a") for _ in range(50)), return_exceptions=True)
        own_server.thaw()
        assert {type(result) for result in results} == {StoreTimeout}
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(StoreTimeout):  # the machine may be busy
                    assert await store.get("a") == 1
                    break


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://u:hunter2@127.0.0.1:1/d", r"PostgreSQL at 127\.0\.0\.1:1 .* was refused"),
        ("postgresql://u:hunter2@host.invalid/d", r"host\.invalid:5432 .* host name is unknown"),
        ("postgresql://u:hunter2@127.0.0.1:1,[::1]:2/d", r"127\.0\.0\.1:1,\[::1\]:2 .* refused"),
    ],
)
async def test_the_error_of_an_unreachable_server_names_it(url: str, message: str) -> None:
    store = PostgreSQLStore(url)
    with pytest.raises(StoreUnavailable, match=message) as caught:
        await store.check()
    assert SECRET not in f"{caught.value!r} {caught.value} {store!r} {store.location}"
    await store.close()


async def test_wrong_logins(server: PostgreSQLServer, admin: Any, table: str) -> None:
    await admin.execute(f"CREATE ROLE u{table} LOGIN PASSWORD '{SECRET}'")
    await admin.execute(f"GRANT CREATE ON SCHEMA public TO u{table}")
    try:
        base = f"postgresql://u{table}:{{}}@127.0.0.1:{server.port}/postgres"
        async with PostgreSQLStore(base.format(SECRET), table=table) as store:
            await store.put("a", 1)
            assert SECRET not in repr(store) + store.explain() + repr(stack().over(store))
        for url in (base.format("hunter3"), base.format(SECRET).replace("u" + table, "nobody")):
            async with PostgreSQLStore(url, table=table) as store:
                with pytest.raises(StoreUnavailable, match="refuses this username or") as caught:
                    await store.get("a")
                text = f"{caught.value!r} {caught.value} {caught.value.__cause__}"
                assert "hunter" not in text
        url = server.url.replace("/postgres", "/nothing")
        async with PostgreSQLStore(url) as store:
            with pytest.raises(StoreUnavailable, match="no database of the name"):
                await store.get("a")
    finally:
        await admin.execute(f"DROP OWNED BY u{table}; DROP ROLE u{table}")


class TlsServer(PostgreSQLServer):
    """A server with a certificate."""

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        files = make_certificates(folder)
        if (account := self.account()) is not None:
            shutil.chown(files.server_key, account)

    def command(self, folder: Path) -> Sequence[str]:
        files = f"ssl_cert_file={folder}/server.pem", f"ssl_key_file={folder}/server.key"
        return [*super().command(folder), "-c", "ssl=on", "-c", files[0], "-c", files[1]]


@pytest.fixture
def tls_server() -> Iterator[TlsServer]:
    with TlsServer() as server:
        yield server


async def test_tls(tls_server: TlsServer, tmp_path: Path) -> None:
    server = tls_server
    trusted, other = server.directory / "ca.pem", make_certificates(tmp_path).ca
    async with PostgreSQLStore(server.url, ca=str(trusted)) as store:
        await store.put("a", 1)
        async with connected(server.url) as admin:
            query = (
                "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
                "WHERE ssl AND application_name LIKE 'kvwrap-%'"
            )
            assert await admin.fetchval(query) == 1
    url = f"{server.url}?tls=true&ca={other}"
    async with PostgreSQLStore.from_url(url) as store:
        with pytest.raises(StoreUnavailable, match="no certificate that this store trusts"):
            await store.get("a")
    async with PostgreSQLStore(server.url, tls=True) as store:
        with pytest.raises(StoreUnavailable, match="no certificate that this store trusts"):
            await store.get("a")


async def test_connections_at_their_maximum() -> None:
    with PostgreSQLServer("-c", "max_connections=6", "-c", "superuser_reserved_connections=0") as s:
        async with contextlib.AsyncExitStack() as others:
            for _ in range(6):
                await others.enter_async_context(connected(s.url))
            async with PostgreSQLStore(s.url) as store:
                with pytest.raises(StoreUnavailable, match="as many connections as it allows"):
                    await store.put("a", 1)
                await others.aclose()
                async with asyncio.timeout(60):
                    while True:  # the server takes a moment to see that they are closed
                        with contextlib.suppress(StoreUnavailable):
                            await store.put("a", 1)
                            break
                assert await store.get("a") == 1


@pytest.fixture
def small_disk(own_server: PostgreSQLServer) -> Iterator[Path]:
    """Yield a folder of the server's on a file system of 24 MB."""
    folder = own_server.directory / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system must be mounted, which only root may do here")
    if (account := own_server.account()) is not None:
        shutil.chown(folder, account)
    yield folder
    own_server.kill()
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_disk(own_server: PostgreSQLServer, small_disk: Path) -> None:
    async with connected(own_server.url) as admin:
        await admin.execute(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
        await admin.execute("ALTER ROLE kvwrap SET default_tablespace = small")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(4_000_000))
    async with PostgreSQLStore(own_server.url, timeout=30) as store:
        await store.put("first", 1)
        with pytest.raises(StoreFull, match="no space left on its disk"):
            await fill(store)
        assert await store.get("first") == 1
        assert await store.destroy()
        ballast.unlink()  # a disk without any space left cannot be vacuumed either
        async with connected(own_server.url) as admin:
            await admin.execute("VACUUM kvwrap")  # as autovacuum does after a while
        await store.put("after", 1)
        assert await store.get("after") == 1


async def fill(store: PostgreSQLStore) -> None:
    """Put what is far larger than the file system, and cannot be compressed."""
    for number in range(100):
        await store.put_many([f"{number}-{n}" for n in range(100)], [noise() for _ in range(100)])


def noise() -> str:
    return random.randbytes(8_000).hex()


@pytest.mark.parametrize(
    "columns",
    [
        "id integer",
        "collection bytea, key bytea, entry bytea",
        COLUMNS.replace("bytea", "text"),
        COLUMNS,  # and no primary key
    ],
)
async def test_a_foreign_table_of_another_shape(
    url: str, table: str, admin: Any, columns: str
) -> None:
    await admin.execute(f'CREATE TABLE "{table}" ({columns})')
    with pytest.raises(ConfigurationError, match=f"{table}.* another shape.* table="):
        async with PostgreSQLStore(url, table=table) as store:
            await store.put("a", 1)
    assert await admin.fetchval(f'SELECT count(*) FROM "{table}"') == 0


async def test_a_table_that_is_dropped_meanwhile_is_created_again(
    url: str, table: str, admin: Any
) -> None:
    async with PostgreSQLStore(url, table=table) as store:
        await store.put("a", 1)
        await admin.execute(f'DROP TABLE "{table}"')
        assert await store.get("a") is None
        await store.put("a", 2)
        assert await store.get("a") == 2


async def test_a_server_that_is_read_only(own_server: PostgreSQLServer) -> None:
    async with PostgreSQLStore(own_server.url) as store, connected(own_server.url) as admin:
        await store.put("a", 1)
        await admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await admin.execute("SELECT pg_reload_conf()")
        async with asyncio.timeout(60):
            while await admin.fetchval("SHOW default_transaction_read_only") != "on":
                await asyncio.sleep(0.01)
        async with asyncio.timeout(60):
            with pytest.raises(StoreUnavailable, match="is read-only"):
                await put_again_and_again(store)  # until its session has read the setting
        assert await store.get("a") == 1


async def put_again_and_again(store: PostgreSQLStore) -> None:
    while True:
        await store.put("a", 1)


async def test_of_several_servers_the_primary_is_used() -> None:
    with PostgreSQLServer() as first, PostgreSQLServer() as second:
        first.kill()
        url = f"postgresql://kvwrap@127.0.0.1:{first.port},127.0.0.1:{second.port}/postgres"
        async with PostgreSQLStore(url) as store:
            await store.put("a", 1)
        async with PostgreSQLStore(second.url) as store:
            assert await store.get("a") == 1
        second.kill()
        second.make_standby()
        second.start()
        first.start()
        async with PostgreSQLStore(url) as store:
            assert await store.get("a") is None
        async with PostgreSQLStore(url, target="standby") as store:
            assert await store.get("a") == 1
            with pytest.raises(StoreUnavailable, match="is read-only"):
                await store.put("a", 2)


async def test_a_statement_that_loses_against_others_is_repeated(
    url: str, table: str, admin: Any
) -> None:
    await admin.execute("ALTER DATABASE postgres SET lock_timeout = 20")
    try:
        async with PostgreSQLStore(url, table=table) as store:
            await store.put("a", 1)
            lock = admin.transaction()
            await lock.start()
            await admin.execute(f'UPDATE "{table}" SET version = version')
            writing = asyncio.create_task(store.put("a", 2))
            await asyncio.sleep(0.05)
            await lock.rollback()
            await writing
            assert await store.get("a") == 2
            await lock_and_fail(admin, store, table)
    finally:
        await admin.execute("ALTER DATABASE postgres RESET lock_timeout")


async def lock_and_fail(admin: Any, store: PostgreSQLStore, table: str) -> None:
    async with admin.transaction():
        await admin.execute(f'UPDATE "{table}" SET version = version')
        with pytest.raises(StoreUnavailable, match="aborted the statement again and again"):
            await store.put("a", 3)


async def test_mistakes_of_the_program_are_not_told_as_failures(
    url: str, table: str, admin: Any
) -> None:
    async with PostgreSQLStore(url, table=table) as store:
        with pytest.raises(AttributeError):
            await store.read(None, [5])  # type: ignore[list-item]
