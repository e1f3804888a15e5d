"""PostgreSQLStore: the changes that it sends to those who listen."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from kvwrap import PostgreSQLStore
from kvwrap.core.primitives import ABSENT, KeyRange
from kvwrap.testing import ManualClock


class Listener:
    """The payloads that arrive at a connection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.payloads: list[Any] = []

    def hear(self, connection: Any, pid: int, channel: str, payload: str) -> None:
        self.payloads.append(json.loads(payload))

    async def heard(self) -> list[Any]:
        """Return what has arrived since the last call."""
        await self.connection.fetchval("SELECT 1")  # what was sent before arrives before
        found, self.payloads = self.payloads, []
        return found


@pytest.fixture
async def listener(admin: Any, table: str) -> Listener:
    listener = Listener(admin)
    await admin.add_listener(table, listener.hear)
    return listener


async def test_names_of_changed_keys_are_sent(url: str, table: str, listener: Listener) -> None:
    async with PostgreSQLStore(url, table=table, notify=True) as store:
        await store.put("a", 1)
        await store.put_many(["c", "b"], [1, 2], collection="d\0")
        assert await listener.heard() == [
            {"collection": None, "keys": ["a"]},
            {"collection": "d\0", "keys": ["b", "c"]},
        ]
        assert await store.put_if_absent("a", 2) is False
        assert await store.delete("none") is False
        assert await listener.heard() == []
        assert await store.put_if_absent("é", 2) is True
        assert await store.increment("n") == 1
        assert await store.increment("n") == 2
        assert await store.expire("n", 60) is True
        assert await store.delete("é") is True
        heard = await listener.heard()
        assert heard == [{"collection": None, "keys": [key]} for key in ("é", "n", "n", "n", "é")]
        entries = await store.read(None, ["a", "n"])
        assert await store.write(None, ["n", "z"], [entries[0]] * 2, [ABSENT, ABSENT])  # type: ignore[list-item]
        # One statement names all keys of its batch, as some of them have changed.
        assert await listener.heard() == [{"collection": None, "keys": ["n", "z"]}]


async def test_names_that_are_too_long_are_left_out(
    url: str, table: str, listener: Listener
) -> None:
    async with PostgreSQLStore(url, table=table, notify=True) as store:
        keys = ["k" * 1000 + str(number) for number in range(8)]
        await store.put_many(keys[:7], [1] * 7)
        await store.put_many(keys, [1] * 8)
        await store.put("k" * 8000, 1, collection="c")
        await store.put("k", 1, collection="c" * 8000)
        assert await listener.heard() == [
            {"collection": None, "keys": keys[:7]},
            {"collection": None},
            {"collection": "c"},
            {},
        ]


async def test_ranges_that_are_dropped_are_sent_without_names(
    url: str, table: str, listener: Listener
) -> None:
    async with PostgreSQLStore(url, table=table, notify=True) as store:
        await store.put("a", 1, collection="c")
        await listener.heard()
        await store.drop_range("c", KeyRange(prefix="a"))
        await store.drop("c")
        await store.destroy()
        assert await listener.heard() == [{"collection": "c"}, {"collection": "c"}, {}]


async def test_nothing_is_sent_by_default(
    store: PostgreSQLStore, listener: Listener, clock: ManualClock
) -> None:
    await store.put("a", 1)
    await asyncio.gather(*(store.put(str(number), 1) for number in range(10)))
    await store.destroy()
    assert await listener.heard() == []
