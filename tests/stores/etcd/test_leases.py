"""Leases that many entries share."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap.stores.etcd.leases import Leases, step_of


class Server:
    """Grants leases, and remembers when each ends at the earliest."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    async def grant(self, seconds: int) -> int:
        await asyncio.sleep(0)
        self.ends.append(asyncio.get_running_loop().time() + seconds)
        return len(self.ends)

    def end(self, lease: int) -> float:
        return self.ends[lease - 1]


@given(st.lists(st.floats(-10, 1e6), min_size=1, max_size=20))
def test_a_lease_ends_after_the_entry_and_soon(lifetimes: list[float]) -> None:
    async def check() -> None:
        server = Server()
        leases = Leases(server.grant)
        for lifetime in lifetimes:
            now = asyncio.get_running_loop().time()
            late = server.end(await leases.get(lifetime)) - (now + lifetime)
            assert 1 <= late <= max(4, lifetime / 16) + 3

    asyncio.run(check())


async def test_entries_with_nearby_ends_share_one() -> None:
    server = Server()
    leases = Leases(server.grant)
    found = await asyncio.gather(*(leases.get(3600 + n / 100) for n in range(100)))
    assert len(set(found)) == len(server.ends) <= 2
    assert await leases.get(3600) in found
    assert await leases.get(60) not in found


async def test_a_forgotten_lease_is_not_given_again() -> None:
    server = Server()
    leases = Leases(server.grant)
    first = await leases.get(3600)
    leases.forget()
    assert await leases.get(3600) != first


async def test_an_error_is_told_to_all_that_wait_and_not_remembered() -> None:
    asked: list[int] = []

    async def grant(seconds: int) -> int:
        asked.append(seconds)
        await asyncio.sleep(0)
        if len(asked) == 1:
            raise ConnectionError
        return 7

    leases = Leases(grant)
    results = await asyncio.gather(*(leases.get(1e9) for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError] * 5
    assert await leases.get(1e9) == 7


@pytest.mark.parametrize(
    ("lifetime", "step"), [(-5, 4), (0, 4), (60, 4), (128, 8), (3600, 128), (1e12, 1 << 29)]
)
def test_steps_grow_with_the_lifetime(lifetime: float, step: int) -> None:
    assert step_of(lifetime) == step
