"""`Client`: one client per event loop and process, limits, and what errors mean."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from kvwrap import StoreTimeout, StoreUnavailable, ValueTooLarge
from kvwrap.errors import KvwrapError
from kvwrap.stores.shared.client import Client, Driver


class Connection:
    """What the driver of these tests makes."""

    def __init__(self) -> None:
        self.has_ended = False
        self.calls: list[int] = []


class Fake(Driver[Connection]):
    server = "Fake at 127.0.0.1:1"

    def __init__(self) -> None:
        self.made: list[Connection] = []
        self.disconnected: list[Connection] = []
        self.abandoned: list[Connection] = []
        self.gate: asyncio.Event | None = None

    async def connect(self) -> Connection:
        if self.gate is not None:
            await self.gate.wait()
        self.made.append(Connection())
        return self.made[-1]

    async def disconnect(self, client: Connection) -> None:
        self.disconnected.append(client)

    def abandon(self, client: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self.abandoned.append(client)

    def is_usable(self, client: Connection) -> bool:
        return not client.has_ended

    def translate(self, error: Exception) -> KvwrapError | None:
        return StoreUnavailable("gone") if isinstance(error, OSError) else None


def make(driver: Fake, **options: Any) -> Client[Connection]:
    async def ensure_open() -> None:
        client.open()

    client: Client[Connection] = Client(
        driver,
        **{
            "is_own": True,
            "timeout": 30.0,
            "limit": 100,
            "store": "FakeStore",
            "ensure_open": ensure_open,
            **options,
        },
    )
    return client


async def itself(connection: Connection) -> Connection:
    return connection


async def test_one_client_serves_all_calls_and_is_closed() -> None:
    driver = Fake()
    client = make(driver)
    used = await asyncio.gather(*(client.run(itself) for _ in range(20)))
    assert {id(each) for each in used} == {id(driver.made[0])}
    assert client.idle
    await client.close()
    assert driver.disconnected == driver.made
    assert not driver.abandoned


def test_each_event_loop_has_its_own() -> None:
    driver = Fake()
    client = make(driver)
    first = asyncio.run(client.run(itself))
    second = asyncio.run(client.run(itself))
    assert first is not second
    assert driver.abandoned == [first]
    asyncio.run(client.close())  # in a third one
    assert driver.abandoned == [first, second]
    assert not driver.disconnected


def test_two_running_event_loops_cannot_share_it() -> None:
    driver = Fake()
    client = make(driver)

    async def use_in_another_thread() -> None:
        await client.run(itself)
        with pytest.raises(StoreUnavailable, match="one event loop at a time"):
            await asyncio.to_thread(lambda: asyncio.run(client.run(itself)))

    asyncio.run(use_in_another_thread())


def test_a_client_of_the_user_stays_in_its_loop_and_open() -> None:
    driver = Fake()
    client = make(driver, is_own=False)
    asyncio.run(client.run(itself))
    with pytest.raises(StoreUnavailable, match="`client` only in the event loop"):
        asyncio.run(client.run(itself))
    asyncio.run(client.close())
    assert not driver.disconnected
    assert not driver.abandoned


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_gets_its_own_and_leaves_the_parents_open() -> None:
    driver = Fake()
    client = make(driver)
    mine = asyncio.run(client.run(itself))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            other = asyncio.run(client.run(itself))
            code = 0 if other is not mine and not driver.abandoned else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


async def test_a_client_that_ended_by_itself_is_replaced() -> None:
    driver = Fake()
    client = make(driver)
    (await client.run(itself)).has_ended = True
    assert await client.run(itself) is driver.made[1]


async def test_a_close_during_the_connection() -> None:
    driver = Fake()
    driver.gate = asyncio.Event()
    client = make(driver)
    call = asyncio.create_task(client.run(itself))
    while client.idle:
        await asyncio.sleep(0)
    await client.close()
    driver.gate.set()
    with pytest.raises(StoreUnavailable, match="closed during this call"):
        await call
    assert driver.disconnected == driver.made


async def test_errors_name_the_store_and_what_was_asked() -> None:
    client = make(Fake())

    async def fail(connection: Connection) -> None:
        raise ConnectionResetError

    with pytest.raises(StoreUnavailable, match="gone") as caught:
        await client.run(fail, collection="c", key="k")
    assert (caught.value.store, caught.value.collection, caught.value.key) == (
        *("FakeStore", "c", "k"),
    )
    assert isinstance(caught.value.__cause__, ConnectionResetError)

    async def refuse(connection: Connection) -> None:
        raise ValueTooLarge("too large")

    with pytest.raises(ValueTooLarge) as refused:
        await client.run(refuse, key="k")
    assert (refused.value.key, refused.value.__cause__) == ("k", None)

    async def mistake(connection: Connection) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await client.run(mistake)


async def test_a_call_without_an_answer_ends() -> None:
    client = make(Fake(), timeout=0.01)

    async def hang(connection: Connection) -> None:
        await asyncio.Event().wait()

    with pytest.raises(StoreTimeout, match=r"Fake at 127\.0\.0\.1:1 did not answer within 0\.01"):
        await client.run(hang)

    async def own_limit(connection: Connection) -> None:
        raise TimeoutError

    with pytest.raises(StoreUnavailable) as caught:  # one of the driver's, an OSError
        await client.run(own_limit)
    assert not isinstance(caught.value, StoreTimeout)


async def test_calls_beyond_the_limit_wait() -> None:
    client = make(Fake(), limit=2)
    running = most = 0

    async def count(connection: Connection) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    await asyncio.gather(*(client.run(count) for _ in range(20)))
    assert most == 2


async def test_a_batch_is_concurrent_but_in_order_for_each_key() -> None:
    client = make(Fake())
    begun: list[int] = []

    async def call(connection: Connection, index: int) -> int:
        begun.append(index)
        await asyncio.sleep(0)
        return index * 10

    assert await client.run_each(None, ["a", "b", "a"], call) == [0, 10, 20]
    assert begun == [0, 1, 2]
    many = [f"k{number}" for number in range(2500)]
    assert await client.run_each(None, many, call) == [10 * index for index in range(2500)]
    assert await client.run_each(None, [], call) == []


@pytest.mark.parametrize("keys", [["a", "b", "c", "d"], ["a", "b", "c", "a"]])
async def test_an_error_in_a_batch_names_what_succeeded(keys: list[str]) -> None:
    client = make(Fake())

    async def call(connection: Connection, index: int) -> int:
        if index in (1, 2):
            raise OSError(keys[index])
        return index

    with pytest.raises(StoreUnavailable) as caught:
        await client.run_each("c", keys, call)
    assert (caught.value.collection, caught.value.key) == ("c", "b")
    assert caught.value.succeeded == (keys[0], keys[3])


async def test_a_batch_that_takes_too_long_names_what_succeeded_before() -> None:
    client = make(Fake(), timeout=0.05)

    async def call(connection: Connection, index: int) -> None:
        if index % 2:
            await asyncio.sleep(60)

    with pytest.raises(StoreTimeout) as caught:
        await client.run_each("c", ["a", "b", "c", "d"], call)
    assert caught.value.succeeded == ("a", "c")


async def test_an_error_in_a_later_part_names_the_earlier_ones() -> None:
    client = make(Fake(), timeout=5)
    keys = [f"k{number}" for number in range(1500)]

    async def call(connection: Connection, index: int) -> None:
        if index >= 1000:
            raise TimeoutError if index == 1000 else OSError

    with pytest.raises(StoreUnavailable) as caught:
        await client.run_each(None, keys, call)
    assert caught.value.succeeded == tuple(keys[:1000])
