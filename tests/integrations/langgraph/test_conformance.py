"""LangGraph's own suite for checkpointers, over three backends, async and blocking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate

from kvwrap import Keyring, MemoryStore
from kvwrap.integrations.langgraph import KvwrapSaver
from kvwrap.testing import RedisServer
from kvwrap.testing.servers import SharedServers

KEYS = Keyring.generate()
METHODS = ("get_tuple", "put", "put_writes", "delete_thread", "delete_for_runs", "copy_thread",
           "prune")  # fmt: skip


def called_in_a_thread(name: str) -> Any:
    async def method(self: KvwrapSaver, *args: Any, **kwargs: Any) -> Any:
        return await asyncio.to_thread(getattr(self, name), *args, **kwargs)

    return method


class Blocking(KvwrapSaver):
    """Uses the blocking methods where the suite uses the async ones."""

    async def alist(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        for found in await asyncio.to_thread(lambda: list(self.list(*args, **kwargs))):
            yield found


for method_name in METHODS:
    setattr(Blocking, f"a{method_name}", called_in_a_thread(method_name))


async def check(saver_class: type[KvwrapSaver], url: str | None) -> None:
    @checkpointer_test(name="kvwrap")
    async def made() -> AsyncIterator[KvwrapSaver]:
        async with saver_class(url or MemoryStore(), KEYS) as saver:
            yield saver

    report = await validate(made)
    assert [result.failures for result in report.results.values()] == [[]] * 8
    assert all(result.passed for result in report.results.values())


@pytest.mark.parametrize("saver_class", [KvwrapSaver, Blocking])
async def test_the_suite_passes_whole(saver_class: type[KvwrapSaver]) -> None:
    await check(saver_class, None)


async def test_the_suite_passes_whole_over_sqlite(tmp_path: Path) -> None:
    await check(KvwrapSaver, f"sqlite:///{tmp_path}/checkpoints.db")


async def test_the_suite_passes_whole_over_redis(servers: SharedServers) -> None:
    await check(KvwrapSaver, servers.url(RedisServer))
