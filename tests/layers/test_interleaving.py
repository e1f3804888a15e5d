"""The scenarios that play concurrent calls in given orders."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.layers.interleaving import World, play


class LateCleaner(World):
    """An actor that waits at a further gate when it is cancelled."""

    has_cleaned = False

    def actors(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {"w": self.clean}

    async def clean(self) -> None:
        try:
            await self.stage.gate("write")
        finally:
            await self.stage.gate("remove")
            self.has_cleaned = True


class GivenUp(BaseException):
    """What a limit of time raises, anywhere."""


def test_a_scenario_that_is_given_up_ends_with_its_loop() -> None:
    world = LateCleaner()
    begun = iter([True, False])

    def choose(options: int) -> int:
        if not next(begun):
            raise GivenUp
        return 0

    with pytest.raises(GivenUp):
        asyncio.run(play(world, choose))
    assert world.has_cleaned
