"""ObjectStore: services that are gone, hang, refuse, lose answers or are asked too much of."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from kvwrap import (
    AccessDenied,
    ObjectStore,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
)
from kvwrap.testing import ManualClock
from kvwrap.testing.servers import AzuriteServer, MotoServer, SharedServers
from kvwrap.testing.servers.certificates import make_certificates
from tests.buckets import BUCKET, s3_bucket
from tests.stores.object.conftest import Service
from tests.stores.object.proxy import Exchange, Proxy, answer

URL = f"s3://{BUCKET}/p"


def error_of(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>hidden</Message></Error>".encode()


async def test_a_server_that_stops_and_comes_back(own_server: MotoServer) -> None:
    async with ObjectStore(URL, endpoint=own_server.url, timeout=30) as store:
        await store.put("a", 1)
        own_server.kill()
        for call in (store.get("a"), store.put("a", 2), store.delete("a"), store.check()):
            with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{own_server.port}"):
                await call
        own_server.start()
        own_server.make_bucket(own_server.url, BUCKET)
        await store.put("a", 3)
        assert await store.get("a") == 3


async def test_a_server_that_does_not_answer(own_server: MotoServer) -> None:
    async with ObjectStore(URL, endpoint=own_server.url, timeout=30) as store:
        await store.put("a", 1)
    async with ObjectStore(URL, endpoint=own_server.url, timeout=0.5) as store:
        own_server.freeze()
        calls = [store.get("a"), store.put("b", 1), store.keys(), store.cull()]
        results = await asyncio.gather(*calls, return_exceptions=True)
        own_server.thaw()
        # A driver may find out first that the server is gone: an outage either way.
        assert all(isinstance(result, StoreUnavailable) for result in results)
    async with ObjectStore(URL, endpoint=own_server.url, timeout=30) as store:
        assert await store.get("a") == 1


async def test_a_server_that_ends_in_a_batch_tells_what_was_done() -> None:
    keys = [f"k{number:03}" for number in range(300)]
    with AzuriteServer() as server:
        server.make_container(server.url, BUCKET)
        url = f"az://{server.login}@{BUCKET}"
        async with ObjectStore(url, endpoint=server.url, timeout=30) as store:
            batch = asyncio.create_task(store.put_many(keys, keys))
            while not await store.exists(keys[100]):
                pass
            os.kill(server.pid, signal.SIGTERM)  # killed at once, it forgets what it answered
            with pytest.raises(StoreUnavailable) as caught:
                await batch
            await asyncio.to_thread(os.waitid, os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
            done = list(caught.value.succeeded or ())
            assert len(done) >= 100
            server.restart()
            assert await store.get_many(done) == done


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ("http://127.0.0.1:1", r"127\.0\.0\.1:1 cannot be reached"),
        ("http://host.invalid", r"host\.invalid cannot be reached"),
    ],
)
async def test_the_error_of_an_unreachable_service_names_it(endpoint: str, message: str) -> None:
    for url in (f"s3://key:hunter2@{BUCKET}", f"az://account:aHVudGVyMg==@{BUCKET}"):
        store = ObjectStore(url, endpoint=endpoint, timeout=30)
        with pytest.raises(StoreUnavailable, match=message) as caught:
            await store.check()
        text = "".join(traceback.format_exception(caught.value)) + repr(store) + store.explain()
        assert "hunter2" not in text
        assert "aHVudGVyMg" not in text
        await store.close()


async def test_wrong_credentials(servers: SharedServers) -> None:
    endpoint = servers.url(AzuriteServer)
    AzuriteServer.make_container(endpoint, BUCKET)
    for login in ("devstoreaccount1:c2VjcmV0", "nobody:c2VjcmV0"):
        store = ObjectStore(f"az://{login}@{BUCKET}", endpoint=endpoint, timeout=60)
        with pytest.raises((StoreUnavailable, AccessDenied), match=r"refuses|not permit") as caught:
            await store.get("a")
        assert "c2VjcmV0" not in str(caught.value)
        await store.close()


async def test_a_missing_bucket_is_told_and_not_made(service: Service) -> None:
    url = service.url.replace(BUCKET, "nowhere")
    async with ObjectStore(url, endpoint=service.endpoint, timeout=60) as store:
        for call in (
            store.get("a"),
            store.put("a", 1),
            store.put_if_absent("a", 1),
            store.delete("a"),
            store.keys(),
            store.collections(),
            store.cull(),
            store.check(),
        ):
            with pytest.raises(StoreUnavailable, match=r"there is no .*'nowhere'.*: create it"):
                await call


async def test_tls_with_an_authority_of_its_own(tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    tls = ("--cert", str(files.server_cert), "--key", str(files.server_key))

    class Secured(AzuriteServer):
        def answers(self, timeout: float = 1.0) -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return True
            return False

    with Secured(*tls) as server:
        endpoint = server.url.replace("http://", "https://")
        url = f"az://{server.login}@{BUCKET}"
        async with ObjectStore(url, endpoint=endpoint, ca=str(files.ca), timeout=30) as store:
            with pytest.raises(StoreUnavailable, match="there is no"):
                await store.get("a")
        async with ObjectStore(url, endpoint=endpoint, timeout=30) as store:
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                await store.get("a")


async def test_requests_that_were_refused_are_sent_again(servers: SharedServers) -> None:
    refusals = ["503 Slow Down", "429 Too Many Requests", "503 Slow Down"]

    async def handle(request: bytes, exchange: Exchange) -> bytes:
        if refusals:
            return answer(refusals.pop(), error_of("SlowDown"))
        return await exchange(request)

    endpoint = servers.url(MotoServer)
    async with (
        Proxy(endpoint, handle) as proxy,
        ObjectStore(s3_bucket(endpoint), prefix="again", endpoint=proxy.url, timeout=60) as store,
    ):
        await store.put("a", 1)
        assert refusals == []
        refusals.append("503 Slow Down")
        assert await store.get("a") == 1
        assert refusals == []


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        ("503 Slow Down", "SlowDown", StoreUnavailable),
        ("500 Internal Server Error", "InternalError", StoreUnavailable),
        ("403 Forbidden", "AccessDenied", AccessDenied),
        ("403 Forbidden", "SignatureDoesNotMatch", StoreUnavailable),
        ("403 Forbidden", "InvalidAccessKeyId", StoreUnavailable),
        ("400 Bad Request", "ExpiredToken", StoreUnavailable),
        ("400 Bad Request", "EntityTooLarge", ValueTooLarge),
        ("507 Insufficient Storage", "InsufficientStorage", StoreFull),
        ("301 Moved Permanently", "PermanentRedirect", StoreUnavailable),
        ("418 Teapot", "hidden-", StoreUnavailable),
    ],
)
async def test_refusals_are_typed_and_not_quoted(
    status: str, code: str, error: type[Exception]
) -> None:
    async def handle(request: bytes, exchange: Exchange) -> bytes:
        return answer(status, error_of(code))

    async with (
        Proxy("http://127.0.0.1:1", handle) as proxy,
        ObjectStore(URL, endpoint=proxy.url, timeout=1 if "Slow" in status else 60) as store,
    ):
        for call in (store.put("a", 1), store.get("a"), store.put_if_absent("a", 1)):
            with pytest.raises(error) as caught:
                await call
            assert proxy.url in str(caught.value)
            assert "hidden" not in str(caught.value)


async def test_a_write_whose_answer_was_lost_is_unknown_and_not_refused(
    servers: SharedServers, clock: ManualClock
) -> None:
    lost = 0

    async def handle(request: bytes, exchange: Exchange) -> bytes:
        nonlocal lost
        found = await exchange(request)
        if request.startswith(b"PUT") and lost:
            lost -= 1
            return b""
        return found

    endpoint = servers.url(MotoServer)
    url = s3_bucket(endpoint)
    async with (
        Proxy(endpoint, handle) as proxy,
        ObjectStore(url, prefix="lost", endpoint=proxy.url, timeout=60, clock=clock) as store,
    ):
        await store.destroy()
        for call in (
            lambda: store.put_if_absent("a", 1),
            lambda: store.increment("a"),
            lambda: store.put("a", 5),
        ):
            lost = 1
            with pytest.raises(StoreUnavailable):
                await call()
        assert await store.increment("a") == 6
        (entry,) = await store.read(None, ["a"])
        assert entry is not None
        changed = entry.with_expiry(None, entry.version ^ 1)
        lost = 1
        with pytest.raises(StoreUnavailable):
            await store.write(None, ["a"], [changed], [entry.version])
        assert await store.write(None, ["a"], [changed], [entry.version]) == [True]


async def test_a_cancelled_call_leaves_the_store_usable(service: Service) -> None:
    async with service.store() as store:
        for number in range(10):
            call = asyncio.create_task(store.put("a", number))
            for _ in range(number % 5):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        assert store.idle
        assert await store.put_if_absent("b", 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_told_that_the_driver_does_not_work(service: Service) -> None:
    store = service.store()
    asyncio.run(store.put("a", 1))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with pytest.raises(StoreUnavailable, match="forked after its first use"):
                asyncio.run(store.get("a"))
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert asyncio.run(store.get("a")) == 1
    asyncio.run(store.close())


def test_a_process_ends_well_right_after_a_call(service: Service) -> None:
    command = (sys.executable, "-m", "tests.stores.object.test_failures")
    processes = [
        subprocess.Popen((*command, service.url, service.endpoint, service.prefix))
        for _ in range(5)
    ]
    assert [process.wait() for process in processes] == [0] * len(processes)


async def increment_at_once(url: str, endpoint: str, prefix: str) -> None:
    async with ObjectStore(url, endpoint=endpoint, prefix=prefix, timeout=60) as store:
        await asyncio.gather(*(store.increment("n") for _ in range(8)))


async def test_no_answer_in_time_is_a_timeout() -> None:
    async def handle(request: bytes, exchange: Exchange) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with (
        Proxy("http://127.0.0.1:1", handle) as proxy,
        ObjectStore(URL, endpoint=proxy.url, timeout=0.2) as store,
    ):
        for call in (store.get("a"), store.put("a", 1), store.collections()):
            with pytest.raises(StoreTimeout, match="S3 bucket"):
                await call


if __name__ == "__main__":
    asyncio.run(increment_at_once(*sys.argv[1:]))
