"""ElasticsearchStore: servers that are gone, hang or cannot be trusted."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from kvwrap import ElasticsearchStore, StoreTimeout, StoreUnavailable
from kvwrap.testing.servers import ElasticsearchProxy, OpenSearchServer, Reply, Request
from kvwrap.testing.servers.certificates import make_certificates


@pytest.mark.timeout(300)
async def test_a_server_that_hangs_dies_and_comes_back(own_server: OpenSearchServer) -> None:
    """One test, since a server takes several seconds to start."""
    address = f"127.0.0.1:{own_server.port}"
    async with (
        ElasticsearchStore(own_server.url, timeout=60) as store,
        ElasticsearchStore(own_server.url, timeout=1) as hasty,
    ):
        await store.put("a", 1)
        while True:
            try:
                assert await hasty.get("a") == 1
                break
            except StoreTimeout:  # a loaded machine
                continue

        own_server.freeze()
        results = await asyncio.gather(*(hasty.get("a") for _ in range(10)), return_exceptions=True)
        with pytest.raises(StoreUnavailable, match=address):
            await hasty.put("a", "given up")
        own_server.thaw()
        assert all(isinstance(result, StoreUnavailable) for result in results)
        assert await store.get("a") in (1, "given up")

        keys = [f"k{number:05}" for number in range(20_000)]
        batch = asyncio.create_task(store.put_many(keys, keys))
        while await store.exists("k00000") is False:
            pass
        own_server.kill()
        with pytest.raises(StoreUnavailable, match=address) as caught:
            await batch
        assert caught.value.succeeded is not None
        for call in (store.get("a"), store.put("a", 2), store.delete("a"), store.check()):
            with pytest.raises(StoreUnavailable, match=address):
                await call

        own_server.start()
        await store.put("a", 3)
        assert await store.get("a") == 3
        # What was acknowledged is there.
        assert await store.get_many(caught.value.succeeded) == list(caught.value.succeeded)


@pytest.mark.parametrize("scheme", ["elasticsearch", "opensearch"])
@pytest.mark.parametrize("host", ["127.0.0.1:1", "host.invalid:9200"])
async def test_the_error_of_an_unreachable_server_names_it(scheme: str, host: str) -> None:
    async with ElasticsearchStore(f"{scheme}://user:hunter2@{host}/b") as store:
        with pytest.raises(StoreUnavailable, match=f"at {host} cannot be reached") as caught:
            await store.check()
    assert "hunter2" not in f"{caught.value!r} {caught.value}"


@pytest.mark.parametrize("scheme", ["elasticsearch", "opensearch"])
async def test_one_of_several_servers_is_enough(
    scheme: str, proxy: ElasticsearchProxy, prefix: str
) -> None:
    hosts = f"127.0.0.1:1,127.0.0.1:{proxy.port},127.0.0.1:2"
    async with ElasticsearchStore(f"{scheme}://{hosts}/{prefix}", timeout=60) as store:
        for number in range(6):
            await store.put("a", number)
            assert await store.get("a") == number
        await store.destroy()


@pytest.mark.parametrize("scheme", ["elasticsearch", "opensearch"])
async def test_a_write_whose_answer_is_lost_is_not_sent_again(
    scheme: str, url: str, prefix: str
) -> None:
    received = []

    def lose(request: Request) -> Reply | None:
        if "/_doc/" in request.path or "/_bulk" in request.path:
            received.append(request.path)
            raise ConnectionError  # the connection is closed without an answer
        return None

    with ElasticsearchProxy(url, intercept=lose) as proxy:
        hosts = f"127.0.0.1:{proxy.port},localhost:{proxy.port}"
        async with ElasticsearchStore(f"{scheme}://{hosts}/{prefix}", timeout=60) as store:
            for write in (store.put("a", 1), store.put_many(["a", "b"], [1, 2])):
                received.clear()
                with pytest.raises(StoreUnavailable, match="cannot be reached"):
                    await write
                assert len(received) == 1
            await store.destroy()


@pytest.mark.parametrize("scheme", ["elasticsearch", "opensearch"])
async def test_tls_with_an_authority_of_its_own(
    scheme: str, url: str, prefix: str, tmp_path: Path
) -> None:
    files = make_certificates(tmp_path)
    logins = set()

    def note(request: Request) -> Reply | None:
        logins.add(request.authorization)
        return None

    certificate = (files.server_cert, files.server_key)
    with ElasticsearchProxy(url, certificate=certificate, intercept=note) as proxy:
        server = f"{scheme}://ada:secret@127.0.0.1:{proxy.port}/{prefix}"
        for options in ({"tls": True}, {}):
            async with ElasticsearchStore(server, timeout=5, **options) as store:
                with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{proxy.port}") as caught:
                    await store.get("a")
                assert "secret" not in str(caught.value)
        assert logins == set()
        async with ElasticsearchStore(server, timeout=60, ca=str(files.ca)) as store:
            await store.put("a", 1)
            assert await store.get("a") == 1
            await store.destroy()
        assert logins == {"Basic YWRhOnNlY3JldA=="}


async def test_tls_is_not_left_out_where_the_server_has_none(url: str, prefix: str) -> None:
    async with ElasticsearchStore(url, index_prefix=prefix, timeout=60, tls=True) as store:
        with pytest.raises(StoreUnavailable, match="answers without TLS"):
            await store.put("a", 1)


async def test_a_server_that_never_answers(prefix: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host = f"127.0.0.1:{listening.getsockname()[1]}"
        async with ElasticsearchStore(f"opensearch://{host}/{prefix}", timeout=0.2) as store:
            with pytest.raises(StoreTimeout, match=f"{host} did not answer within 0.2 seconds"):
                await store.get("a")


async def test_a_cancelled_call_leaves_the_connection_usable(url: str, prefix: str) -> None:
    async with ElasticsearchStore(url, index_prefix=prefix, timeout=60) as store:
        await store.put("a", 0)
        for number in range(20):
            call = asyncio.create_task(store.put("b", number))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await store.put("a", -number)
            assert await store.get("a") == -number
        await store.destroy()
