"""MemcachedStore: servers that are gone, hang, refuse or are full."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from kvwrap import MemcachedStore, StoreFull, StoreTimeout, StoreUnavailable
from kvwrap.testing.servers import MemcachedServer
from kvwrap.testing.servers.certificates import make_certificates
from tests.stores.memcached.conftest import TLSServer
from tests.stores.redis.loopback import LoopbackServer


async def test_a_server_that_dies_and_comes_back(own_server: MemcachedServer) -> None:
    where = f"memcached at 127.0.0.1:{own_server.port}"
    async with MemcachedStore(own_server.url, timeout=5) as store:
        await store.put("a", 1)
        own_server.kill()
        for call in (store.get("a"), store.put("a", 2), store.delete("a"), store.check()):
            with pytest.raises(StoreUnavailable, match=where):
                await call
        own_server.start()
        assert await store.get("a") is None  # it has forgotten everything
        assert await store.increment("n") == 1


async def test_a_server_that_hangs(own_server: MemcachedServer) -> None:
    async with MemcachedStore(own_server.url, timeout=0.3) as store:
        await store.put("a", 1)
        own_server.freeze()
        calls = [store.get("a"), store.put("a", 2), *(store.get("b") for _ in range(30))]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} == {StoreTimeout}
        own_server.thaw()
    async with MemcachedStore(own_server.url) as store:
        assert await store.get("a") in (1, 2)


async def test_one_of_two_servers_is_gone(
    own_server: MemcachedServer, url: str, namespace: str
) -> None:
    both = f"{url},127.0.0.1:{own_server.port}"
    keys = [f"k{number}" for number in range(50)]
    async with MemcachedStore(both, namespace=namespace) as store:
        await store.put_many(keys, keys)
        own_server.kill()
        with pytest.raises(StoreUnavailable, match=str(own_server.port)) as caught:
            await store.put_many(keys, [0] * 50, collection="c")
        assert caught.value.collection == "c"
        with pytest.raises(StoreUnavailable, match=str(own_server.port)) as caught:
            await store.put_many(keys, [0] * 50)
        succeeded = caught.value.succeeded
        assert succeeded is not None
        assert 0 < len(succeeded) < 50
        assert await store.get_many(list(succeeded)) == [0] * len(succeeded)


async def test_a_port_without_a_server_and_a_host_without_an_address() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for address in (f"127.0.0.1:{port}", "does-not-exist.invalid"):
        async with MemcachedStore(f"memcached://{address}") as store:
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                await store.get("a")


async def test_a_login_is_not_sent_to_a_server_that_asks_for_none(tmp_path: Path) -> None:
    with MemcachedServer() as server:
        address = server.url.removeprefix("memcached://")
        async with MemcachedStore(f"memcached://me:secret@{address}") as store:
            with pytest.raises(StoreUnavailable, match="asks for no login") as caught:
                await store.get("a")
            assert "secret" not in str(caught.value)
        host, port = address.rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"get login\r\n")
        assert await reader.readline() == b"END\r\n"
        writer.close()
        await writer.wait_closed()


async def test_logins(tmp_path: Path) -> None:
    logins = tmp_path / "logins"
    logins.write_text("me:secret\n")
    with MemcachedServer("-Y", str(logins)) as server:
        address = f"127.0.0.1:{server.port}"
        async with MemcachedStore(f"memcached://me:secret@{address}") as store:
            await store.put("a", 1)
            assert await store.get("a") == 1
        for login in ("me:wrong@", "you@", "you:@", ""):
            async with MemcachedStore(f"memcached://{login}{address}") as store:
                with pytest.raises(StoreUnavailable) as caught:
                    await store.get("a")
                assert "login" in str(caught.value)
                assert "wrong" not in str(caught.value)


async def test_tls(tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    options = f"ssl_chain_cert={files.server_cert},ssl_key={files.server_key}"
    with TLSServer("-Z", "-o", options) as server:
        async with MemcachedStore(server.url, ca=str(files.ca)) as store:
            await store.put_many(["a", "b"], [1, "x" * 100_000])
            assert await store.get_many(["a", "b"]) == [1, "x" * 100_000]
        for options in ({"tls": True}, {}):
            async with MemcachedStore(server.url, timeout=5, **options) as store:  # type: ignore[arg-type]  # a flag
                with pytest.raises(StoreUnavailable):
                    await store.get("a")


async def test_a_server_that_must_not_evict_is_full() -> None:
    with MemcachedServer("-M", "-m", "2") as server:
        async with MemcachedStore(server.url) as store:
            keys = [f"k{number}" for number in range(1000)]
            with pytest.raises(StoreFull, match=rf"127\.0\.0\.1:{server.port} .*memory") as caught:
                await store.put_many(keys, ["x" * 50_000] * 1000)
            done = caught.value.succeeded or ()
            assert 0 < len(done) < 1000
            stored = await store.get_many(keys)
            assert [key for key, value in zip(keys, stored) if value is not None] == list(done)
            await store.put("small", 1)
            assert await store.get("k0") == "x" * 50_000
            assert await store.delete("k0")


async def test_a_server_with_as_many_connections_as_it_takes() -> None:
    with MemcachedServer("-c", "30") as server:
        others = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(40)]
        async with MemcachedStore(server.url, timeout=2) as store:
            with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{server.port}"):
                await store.put("k", 1)
            for _, writer in others:
                writer.close()
            while True:
                with contextlib.suppress(StoreUnavailable):
                    await store.put("k", 1)
                    break
            assert await store.get("k") == 1


async def test_connections_of_a_store_at_their_maximum(own_server: MemcachedServer) -> None:
    async with MemcachedStore(own_server.url, max_connections=2) as store:
        await asyncio.gather(*(store.increment("n") for _ in range(50)))
        assert await store.get("n") == 50
        assert store.idle


@pytest.mark.parametrize("settings", [b"END\r\n", b"ERROR\r\n"])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"ERROR\r\n", "1.6 or later"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not one of memcached's protocol"),
        (b"VA x\r\n", "memcached at"),
        (b"VA 5 c1\r\nab", "memcached at"),
        (b"x" * 100_000, "memcached at"),
        (b"", "closed the connection"),
    ],
)
async def test_a_server_that_is_not_memcached(
    settings: bytes, answer: bytes, expected: str
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"stats settings\r\n"
        writer.write(settings)
        await reader.readline()
        writer.write(answer)
        with contextlib.suppress(OSError):
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with MemcachedStore(f"memcached://127.0.0.1:{port}", timeout=5) as store:
            with pytest.raises(StoreUnavailable, match=expected):
                await store.get("a")


async def test_a_cancelled_call_leaves_no_answer_for_the_next(url: str, namespace: str) -> None:
    async with MemcachedStore(url, namespace=namespace, max_connections=1) as store:
        await store.put_many(["a", "b"], ["a" * 300_000, "b"])
        for turns in range(1, 12):
            reading = asyncio.create_task(store.get("a"))
            for _ in range(turns):
                await asyncio.sleep(0)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            assert await store.get("b") == "b"


async def test_a_server_that_cannot_list() -> None:
    with MemcachedServer("-o", "no_lru_crawler") as server:
        async with MemcachedStore(server.url, enumerate=True) as store:
            await store.put("a", 1)
            with pytest.raises(StoreUnavailable, match="crawler enabled"):
                await store.keys()
            assert await store.get("a") == 1


class Older(LoopbackServer):
    """Passes everything on to a server, except for a way of listing that it does not know."""

    def __init__(self, server: MemcachedServer) -> None:
        super().__init__()
        self.server = server
        self.listings: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, commands = await asyncio.open_connection("127.0.0.1", self.server.port)
        passing = asyncio.create_task(pass_on(answers, writer))
        try:
            while command := await reader.readline():
                if command.startswith(b"lru_crawler"):
                    self.listings.append(command)
                if command == b"lru_crawler metadump hash\r\n":
                    writer.write(b"ERROR\r\n")
                else:
                    commands.write(command)
        finally:
            passing.cancel()
            commands.close()
            writer.close()


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)


async def test_an_older_server_lists_in_the_order_of_last_use(own_server: MemcachedServer) -> None:
    async with Older(own_server) as older:
        url = f"memcached://127.0.0.1:{older.port}"
        async with MemcachedStore(url, enumerate=True, timeout=60) as store:
            await store.put_many(["a", "b"], [1, 2])
            assert sorted(await store.keys()) == ["a", "b"]
        first, *others = [listing.split()[-1] for listing in older.listings]
        assert (first, set(others)) == (b"hash", {b"all"})
