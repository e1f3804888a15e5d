"""NATSStore: servers that are gone, hang, refuse or are full."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from kvwrap import (
    AccessDenied,
    ConfigurationError,
    NATSStore,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
)
from kvwrap.testing.servers import NATSServer
from kvwrap.testing.servers.certificates import make_certificates


def configured(folder: Path, text: str) -> NATSServer:
    """Return a server with settings that have no argument."""
    (folder / "nats.conf").write_text(text)
    return NATSServer("-c", str(folder / "nats.conf"))


async def test_a_server_that_stops_and_comes_back(own_server: NATSServer) -> None:
    async with NATSStore(own_server.url, timeout=1) as store:
        await store.put("a", 1)
        own_server.kill()
        for call in (store.get("a"), store.put("a", 2), store.delete("a"), store.check()):
            with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{own_server.port}"):
                await call
        own_server.start()
        while True:
            try:
                assert await store.get("a") in (1, 2)
                break
            except StoreTimeout:  # the driver waits before it connects again
                continue
        await store.put("a", 3)
        assert await store.get("a") == 3


async def test_a_server_that_does_not_answer(own_server: NATSServer) -> None:
    async with NATSStore(own_server.url, timeout=0.5) as store:
        await store.put("a", 1)
        own_server.freeze()
        results = await asyncio.gather(*(store.get("a") for _ in range(20)), return_exceptions=True)
        own_server.thaw()
        # A driver may find out first that the server is gone: an outage either way.
        assert all(isinstance(result, StoreUnavailable) for result in results)
    async with NATSStore(own_server.url) as store:
        assert await store.get("a") == 1


async def test_a_write_that_was_given_up_does_not_replace_a_later_one(
    own_server: NATSServer,
) -> None:
    async with NATSStore(own_server.url, timeout=0.3) as store:
        await store.put("a", "before")
        own_server.freeze()
        with pytest.raises(StoreTimeout):
            await store.put("a", "given up")
        own_server.thaw()
    async with NATSStore(own_server.url) as store:
        await store.put("a", "after")
        for _ in range(20):
            assert await store.get("a") == "after"


async def test_a_write_without_a_connection_is_not_sent_later(own_server: NATSServer) -> None:
    async with (
        NATSStore(own_server.url, timeout=1) as store,
        NATSStore(own_server.url, timeout=60) as other,
    ):
        await store.put("a", "before")
        await other.get("a")
        own_server.kill()
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await store.put("a", "failed")
        own_server.start()
        await other.put("a", "after")
        while True:
            try:
                assert await store.get("a") == "after"
                break
            except StoreUnavailable:  # not connected again yet
                continue
        assert await other.get("a") == "after"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nats://user:hunter2@127.0.0.1:1/b", r"NATS at 127\.0\.0\.1:1 cannot be reached"),
        ("nats://:hunter2@host.invalid/b", r"NATS at host\.invalid:4222 cannot be reached"),
    ],
)
async def test_the_error_of_an_unreachable_server_names_it(url: str, message: str) -> None:
    store = NATSStore(url)
    with pytest.raises(StoreUnavailable, match=message) as caught:
        await store.check()
    await store.close()
    assert "hunter2" not in f"{caught.value!r} {caught.value}"


async def test_one_of_several_servers_is_enough(own_server: NATSServer) -> None:
    async with NATSStore(f"nats://127.0.0.1:1,127.0.0.1:{own_server.port}/b") as store:
        await store.put("a", 1)
        assert await store.get("a") == 1


async def test_a_wrong_password(tmp_path: Path, own_server: NATSServer) -> None:
    with configured(tmp_path, 'authorization { user: ada, password: "right/1" }') as server:
        host = f"127.0.0.1:{server.port}"
        for login in ("ada:wrong", "bob:right%2F1"):
            store = NATSStore(f"nats://{login}@{host}")
            with pytest.raises(StoreUnavailable, match="refuses this username or pass") as caught:
                await store.get("a")
            assert "wrong" not in str(caught.value)
            await store.close()
        async with NATSStore(f"nats://ada:right%2F1@{host}") as store:
            await store.put("a", 1)


async def test_an_account_that_may_only_read(tmp_path: Path, own_server: NATSServer) -> None:
    text = """authorization { users: [
        { user: all, password: p }
        { user: reads, password: p, permissions: {
            publish: { deny: ["$KV.>"] } } } ] }"""
    with configured(tmp_path, text) as server:
        host = f"127.0.0.1:{server.port}"
        async with NATSStore(f"nats://all:p@{host}/b") as store:
            await store.put("a", 1)
        async with NATSStore(f"nats://reads:p@{host}/b", timeout=2) as store:
            assert await store.get("a") == 1
            with pytest.raises(AccessDenied, match=r"KV\.b\._\.a"):
                await store.put("a", 2)
            assert await store.get("a") == 1


async def test_tls_with_an_authority_of_its_own(tmp_path: Path, own_server: NATSServer) -> None:
    files = make_certificates(tmp_path)
    arguments = ("--tls", "--tlscert", str(files.server_cert), "--tlskey", str(files.server_key))
    with NATSServer(*arguments) as server:
        async with NATSStore(server.url, ca=str(files.ca)) as store:
            await store.put("a", 1)
            assert await store.get("a") == 1
        for options in ({"tls": True}, {}):
            store = NATSStore(server.url, timeout=3, **options)
            with pytest.raises(StoreUnavailable, match=r"cannot be reached|did not answer"):
                await store.get("a")
            await store.close()


async def test_a_server_without_tls_gets_neither_login_nor_values(
    tmp_path: Path, own_server: NATSServer
) -> None:
    for url in (own_server.url, own_server.url.replace("//", "//ada:secret@")):
        store = NATSStore(url, tls=True)
        with pytest.raises(StoreUnavailable, match="does not offer TLS") as caught:
            await store.put("a", 1)
        assert "secret" not in str(caught.value)
        await store.close()
    async with NATSStore(own_server.url) as store:
        assert await store.get("a") is None


async def test_a_server_with_as_many_connections_as_it_takes(
    tmp_path: Path, own_server: NATSServer
) -> None:
    with configured(tmp_path, "max_connections: 1") as server:
        async with NATSStore(server.url) as one:
            await one.put("a", 1)
            async with NATSStore(server.url, timeout=2) as other:
                with pytest.raises(StoreUnavailable, match="takes further connections"):
                    await other.get("a")
                await one.close()
                while True:
                    with contextlib.suppress(StoreUnavailable):
                        assert await other.get("a") == 1
                        break


async def test_a_full_bucket_can_be_emptied(tmp_path: Path, own_server: NATSServer) -> None:
    with configured(tmp_path, "jetstream { max_file_store: 3MB }") as server:
        async with NATSStore(server.url) as store:

            async def fill() -> None:
                for number in range(100):
                    await store.put(f"k{number}", "x" * 500_000)

            with pytest.raises(StoreFull) as caught:
                await fill()
            stored = await store.keys()
            assert 1 <= len(stored) < 10
            assert caught.value.key == f"k{len(stored)}"
            assert await store.destroy()
            await store.put("a", 1)
            assert await store.get("a") == 1


async def test_a_server_without_jetstream(tmp_path: Path, own_server: NATSServer) -> None:
    class Plain(NATSServer):
        def command(self, folder: Path) -> list[str]:
            return ["-a", "127.0.0.1", "-p", str(self.port)]

        def answers(self, timeout: float = 1.0) -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return True
            return False

    with Plain() as server:
        store = NATSStore(server.url, timeout=0.5)
        with pytest.raises((ConfigurationError, StoreUnavailable), match="JetStream"):
            await store.get("a")
        await store.close()


async def test_a_cancelled_call_leaves_the_connection_usable(own_server: NATSServer) -> None:
    async with NATSStore(own_server.url) as store:
        await store.put("a", 0)
        for number in range(30):
            call = asyncio.create_task(store.put("a", number))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await store.put("a", -number)
            assert await store.get("a") == -number
