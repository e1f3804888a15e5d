"""RedisStore: a server whose SCAN goes round in circles."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable

import pytest

from kvwrap import RedisStore, Store, StoreUnavailable
from tests.stores.redis.scripted import ScriptedServer

LISTINGS: dict[str, tuple[bytes, Callable[[Store], Awaitable[object]]]] = {
    "keys": (b"*1\r\n$4\r\n::k1\r\n", lambda store: store.keys()),
    "collections": (b"*1\r\n$4\r\n::k1\r\n", lambda store: store.collections()),
    "destroy": (b":1\r\n", lambda store: store.destroy()),
    "destroy_collection": (b":1\r\n", lambda store: store.destroy_collection("c")),
    "count": (b":1\r\n", lambda store: store.count()),
    "delete_where": (b":1\r\n", lambda store: store.delete_where(prefix="a")),
}


def scan(cursors: Iterable[int], found: bytes) -> Callable[[], bytes]:
    """Return answers of a scan with these cursors, of which each finds the same."""
    answers = iter(cursors)

    def answer() -> bytes:
        cursor = b"%d" % next(answers)
        return b"*2\r\n$%d\r\n%s\r\n%s" % (len(cursor), cursor, found)

    return answer


@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("circle", [[7], [1, 2, 3]])
async def test_cursors_that_come_again_and_again_are_an_error(
    listing: str, circle: list[int]
) -> None:
    found, call = LISTINGS[listing]
    async with ScriptedServer() as server, RedisStore(server.url) as store:
        server.script = scan(itertools.cycle(circle), found)
        with pytest.raises(StoreUnavailable, match="come again and again"):
            await call(store)
        server.script = scan([5, 0], found)
        await call(store)


@pytest.mark.parametrize("listing", LISTINGS)
async def test_a_server_that_goes_back_while_it_resizes_is_followed(listing: str) -> None:
    found, call = LISTINGS[listing]
    cursors = [*range(1, 50), *range(10, 50), *range(10, 50), 60, 0]
    async with ScriptedServer() as server, RedisStore(server.url) as store:
        server.script = scan(cursors, found)
        await call(store)
