"""EtcdStore: servers that are gone, hang, refuse or are full."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from grpclib import GRPCError, Status
from grpclib.exceptions import StreamTerminatedError

from kvwrap import (
    AccessDenied,
    EtcdStore,
    KvwrapError,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
    stack,
)
from kvwrap.stores.etcd.connections import Etcd, EtcdOptions
from kvwrap.stores.shared.urls import Address
from kvwrap.testing.servers import EtcdCluster, EtcdServer
from kvwrap.testing.servers.certificates import make_certificates


async def eventually(call: Any) -> Any:
    """Await a call until its server is back."""
    while True:
        try:
            return await call()
        except StoreUnavailable:
            await asyncio.sleep(0.05)


async def test_a_server_that_stops_and_comes_back(own_server: EtcdServer) -> None:
    async with EtcdStore(own_server.url, timeout=2) as store:
        await store.put("a", 1)
        own_server.kill()
        for call in (store.get("a"), store.put("a", 2), store.delete("a"), store.check()):
            with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{own_server.port}"):
                await call
        own_server.start()
        assert await eventually(lambda: store.get("a")) == 1
        await store.put("a", 3)
        assert await store.get("a") == 3


async def test_a_server_that_does_not_answer(own_server: EtcdServer) -> None:
    async with EtcdStore(own_server.url, timeout=0.5) as store:
        await store.put("a", 1)
        own_server.freeze()
        results = await asyncio.gather(*(store.get("a") for _ in range(20)), return_exceptions=True)
        own_server.thaw()
        # Each call that a new connection is made for finds the same.
        assert {type(result) for result in results} == {StoreTimeout}
        assert await eventually(lambda: store.get("a")) == 1


async def test_a_write_that_was_given_up_does_not_replace_a_later_one(
    own_server: EtcdServer,
) -> None:
    async with EtcdStore(own_server.url, timeout=0.5) as store:
        await store.put_many(["a", "b", "c"], ["before"] * 3)
        own_server.freeze()
        with pytest.raises(StoreTimeout):
            await store.put("a", "given up")
        with pytest.raises(StoreTimeout):
            await store.put_many(["b", "c"], ["given up"] * 2)
        with pytest.raises(StoreTimeout):
            await store.delete("c")
        own_server.thaw()
        await eventually(lambda: store.put_many(["a", "b", "c"], ["after"] * 3))
        for _ in range(20):
            assert await store.get_many(["a", "b", "c"]) == ["after"] * 3
        async with EtcdStore(own_server.url) as other:  # which does not know of it
            await other.put("a", "last")
            assert await store.get("a") == "last"
            assert await other.destroy()
            await store.put("a", 1)
            assert await other.keys() == ["a"]


async def test_a_cancelled_write_does_not_replace_a_later_one(own_server: EtcdServer) -> None:
    async with EtcdStore(own_server.url) as store:
        await store.put("a", 0)
        for number in range(30):
            call = asyncio.create_task(store.put("a", number))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await store.put("a", -number)
            assert await store.get("a") == -number


async def test_a_server_that_dies_in_the_middle_of_a_batch(own_server: EtcdServer) -> None:
    keys = [f"k{number:05}" for number in range(20_000)]
    async with EtcdStore(own_server.url, timeout=5) as store:
        call = asyncio.create_task(store.put_many(keys, keys))
        while not await store.count(prefix="k001"):
            await asyncio.sleep(0)
        own_server.kill()
        with pytest.raises(StoreUnavailable) as caught:
            await call
        own_server.start()
        done = caught.value.succeeded or ()
        assert 100 <= len(done) < len(keys)
        assert await eventually(lambda: store.get_many(done)) == list(done)


async def test_an_outage_leaves_cancellation_as_it_was(own_server: EtcdServer) -> None:
    # The driver ends a call by cancelling its task, which a timeout around it must not see.
    async with EtcdStore(own_server.url) as store:
        await store.put("a", 1)
        own_server.freeze()
        call = asyncio.create_task(store.get("a"))
        await asyncio.sleep(0.05)
        own_server.kill()
        with pytest.raises(StoreUnavailable):
            await call
        assert call.cancelling() == 0


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("etcd://user:hunter2@127.0.0.1:1/b", r"etcd at 127\.0\.0\.1:1 cannot be reached"),
        ("etcd://u:hunter2@host.invalid/b", r"etcd at host\.invalid:2379 cannot be reached"),
        ("etcd://u:hunter2@a..b/b", r"etcd at a\.\.b:2379 cannot be reached"),
    ],
)
async def test_the_error_of_an_unreachable_server_names_it(url: str, message: str) -> None:
    async with EtcdStore(url) as store:
        with pytest.raises(StoreUnavailable, match=message) as caught:
            await store.check()
    assert "hunter2" not in f"{caught.value!r} {caught.value}"


async def test_one_of_several_servers_is_enough(url: str, prefix: str) -> None:
    port = url.rpartition(":")[2]
    async with EtcdStore(f"etcd://127.0.0.1:1,127.0.0.1:{port}/{prefix}") as store:
        await store.put("a", 1)
        assert await store.get("a") == 1


async def test_a_server_that_is_cut_off_answers_nothing_stale() -> None:
    with EtcdCluster() as cluster:
        async with EtcdStore(cluster.url, timeout=2) as store:
            await stack().retry(attempts=5).over(store).put("a", 1)
            for node in cluster.nodes[1:]:
                node.kill()
            while True:  # until it knows that it is alone
                try:
                    await store.get("a")
                except StoreUnavailable as error:
                    if "has no leader" in str(error):
                        break
            with pytest.raises(StoreUnavailable, match="has no leader"):
                await store.put("a", 2)
            for node in cluster.nodes[1:]:
                node.start()
            assert await eventually(lambda: store.get("a")) == 1


def enable_users(server: EtcdServer) -> None:
    """Create root, ada who may use all keys, and bob who may read those of the prefix `p`."""

    def encoded(name: bytes) -> str:
        return base64.b64encode(name).decode()

    server.call("auth/role/add", name="root")
    for role, kind, start, end in (("all", "READWRITE", b"\0", b"\0"), ("p", "READ", b"p:", b"p;")):
        server.call("auth/role/add", name=role)
        permission = {"permType": kind, "key": encoded(start), "range_end": encoded(end)}
        server.call("auth/role/grant", name=role, perm=permission)
    for user, password, role in (
        ("root", "r", "root"),
        ("ada", "right/1", "all"),
        ("bob", "b", "p"),
    ):
        server.call("auth/user/add", name=user, password=password)
        server.call("auth/user/grant", user=user, role=role)
    server.call("auth/enable")


async def test_logins(own_server: EtcdServer) -> None:
    host = f"127.0.0.1:{own_server.port}"
    async with EtcdStore(f"etcd://ada:right%2F1@{host}/p") as store:
        with pytest.raises(StoreUnavailable, match="has no users"):
            await store.get("a")
    await asyncio.to_thread(enable_users, own_server)
    for login, message in (
        ("ada:wrong@", "refuses this user"),
        ("eve:right@", "refuses this user"),
    ):
        async with EtcdStore(f"etcd://{login}{host}/p") as store:
            with pytest.raises(StoreUnavailable, match=message) as caught:
                await store.get("a")
            assert "wrong" not in str(caught.value)
    async with EtcdStore(f"etcd://{host}/p") as store:
        with pytest.raises(StoreUnavailable, match="wants a login"):
            await store.put("a", 1)
    async with EtcdStore(f"etcd://ada:right%2F1@{host}/p") as store:
        await asyncio.gather(*(store.put(f"k{number}", number, ttl=1000) for number in range(9)))
        await store.put("a", 1)
        async with EtcdStore(f"etcd://bob:b@{host}/p") as reader:
            assert await reader.get("a") == 1
            assert len(await reader.keys()) == 10
            for call in (reader.put("a", 2), reader.delete("a"), reader.put_if_absent("b", 1)):
                with pytest.raises(AccessDenied, match="extend the roles"):
                    await call
        async with EtcdStore(f"etcd://bob:b@{host}/other") as outside:
            with pytest.raises(AccessDenied):
                await outside.get("a")
        await asyncio.to_thread(own_server.restart)  # the tokens are gone with it
        assert await eventually(lambda: store.get("a")) == 1
        await store.put("a", 2)


async def test_tls_with_an_authority_of_its_own(tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    with EtcdServer(certificates=files) as server:
        async with EtcdStore(server.url, ca=str(files.ca)) as store:
            await store.put("a", 1)
            assert await store.get("a") == 1
        for options in ({"tls": True}, {}):
            async with EtcdStore(server.url, timeout=3, **options) as store:
                with pytest.raises(StoreUnavailable, match=r"cannot be reached|did not answer"):
                    await store.get("a")


async def test_a_server_without_tls_gets_neither_login_nor_values(own_server: EtcdServer) -> None:
    url = own_server.url.replace("//", "//ada:secret@")
    async with EtcdStore(url, tls=True, timeout=3) as store:
        with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
            await store.put("a", 1)
    assert "secret" not in str(caught.value)
    async with EtcdStore(own_server.url) as store:
        assert await store.get("a") is None


async def test_a_full_server_can_be_emptied() -> None:
    with EtcdServer("--quota-backend-bytes", str(4 * 1024 * 1024)) as server:
        async with EtcdStore(server.url) as store:

            async def fill() -> None:
                for number in range(100):
                    await store.put(f"k{number}", "x" * 500_000)

            with pytest.raises(StoreFull, match="quota") as caught:
                await fill()
            stored = await store.keys()
            # etcd may have carried out the write that it answers so for the first time.
            assert caught.value.key in (f"k{len(stored)}", f"k{len(stored) - 1}")
            with pytest.raises(StoreFull):
                await store.put_if_absent("other", 1, ttl=100)
            assert len(await store.get("k0")) == 500_000
            assert await store.delete("k0")
            assert await store.destroy()
            assert await store.keys() == []
            # What an administrator does then; a server may do it by itself.
            revision = server.call("kv/range", key="AA==")["header"]["revision"]
            server.call("kv/compaction", revision=revision, physical=True)
            server.call("maintenance/defragment")
            for alarm in server.call("maintenance/alarm", action="GET")["alarms"]:
                server.call("maintenance/alarm", action="DEACTIVATE", **alarm)
            await store.put("a", 1)
            assert await store.get("a") == 1


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (GRPCError(Status.INVALID_ARGUMENT, "etcdserver: request is too large"), ValueTooLarge),
        (GRPCError(Status.RESOURCE_EXHAUSTED, "message larger than max (1 vs. 2)"), ValueTooLarge),
        (GRPCError(Status.RESOURCE_EXHAUSTED, "hidden"), StoreUnavailable),
        (GRPCError(Status.PERMISSION_DENIED, "hidden"), AccessDenied),
        (GRPCError(Status.UNAVAILABLE, "etcdserver: request timed out, hidden"), StoreTimeout),
        (GRPCError(Status.UNKNOWN, None), StoreUnavailable),
        (StreamTerminatedError("hidden"), StoreUnavailable),
        (TimeoutError("hidden"), StoreTimeout),
    ],
)
def test_errors_of_the_driver_are_typed_and_not_quoted(
    error: Exception, meaning: type[KvwrapError]
) -> None:
    options = EtcdOptions(addresses=[Address("one", 1)], fence=b"kvwrap:", timeout=1)
    found = Etcd(options).translate(error)
    assert type(found) is meaning
    assert "etcd at one:1" in str(found)
    assert "hidden" not in str(found)
    assert Etcd(options).translate(ZeroDivisionError()) is None
