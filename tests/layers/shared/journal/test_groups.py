"""Calls that wait for one commit return together, and others run meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from kvwrap.core.turns import SLICE
from kvwrap.layers.shared.journal.groups import Group, resolve
from tests.turns import turns_during


@pytest.mark.parametrize("error", [None, OSError("full")])
async def test_others_get_turns_while_many_calls_return(error: Exception | None) -> None:
    loop = asyncio.get_running_loop()
    groups = [Group(None, (), (), loop.create_future()) for _ in range(4 * SLICE)]
    assert await turns_during(resolve(groups, error)) >= 3
    assert all(group.committed.exception() is error for group in groups)
