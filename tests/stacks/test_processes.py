"""Several processes over one store: starting at once, and counting through encryption."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvwrap import Capability, Store
from kvwrap.core.clock import SystemClock
from kvwrap.testing.servers import LocalServer, SharedServers
from tests.catalog import SLOW, STORES, Resources
from tests.conftest import SOAK
from tests.stacks.processes_worker import TASKS, layers
from tests.stores.adapted.objects import OBJECTS

PROCESSES = 2
STARTING = 8
LIMIT = 1_800 if SOAK else 240
"""Seconds for the processes."""
# Those that keep their entries in this process.
OWN = {"memory", "dict", "py-key-value"}
# Of the objects of other libraries, one makes conditional writes atomic for all processes.
ADAPTED = {*OBJECTS} - {"diskcache"}
# Those for which the long proof of another counts, because it runs the same code: "redis" or
# "django on sqlite".
KIN = {"redis+cluster", "redis+sentinel", "valkey", "valkey+cluster", "django on postgresql"}
SHARED = [name for name in STORES if name not in OWN | ADAPTED]


class Backend:
    """A store of the catalog, which other processes can make too."""

    def __init__(self, kind: str, folder: Path, servers: SharedServers) -> None:
        self._servers = servers
        self._environment: dict[str, str] = {}
        self.resources = Resources(SystemClock(), folder, self._url)
        self.kind = kind
        STORES[kind](self.resources)  # its server is started, and its URL known

    def _url(self, kind: type[LocalServer]) -> str:
        url = self._servers.url(kind)
        self._environment[kind.url_variable()] = url
        return url

    @property
    def store(self) -> Store:
        return STORES[self.kind](self.resources)

    @contextmanager
    def processes(
        self, count: int, task: str, argument: int
    ) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Start processes that run a task of the worker."""
        names = (self.kind, str(self.resources.folder), self.resources.name, task, str(argument))
        environment: Mapping[str, str] = {**os.environ, **self._environment}
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.stacks.processes_worker", *names],
                cwd=Path(__file__).parents[2],
                env=environment,
            )
            for _ in range(count)
        ]
        try:
            yield processes
        finally:
            for process in processes:
                process.kill()
                process.wait()


@pytest.fixture(params=SHARED)
def backend(request: pytest.FixtureRequest, tmp_path: Path, servers: SharedServers) -> Backend:
    return Backend(request.param, tmp_path, servers)


def test_every_store_that_is_shared_is_tried(servers: SharedServers, tmp_path: Path) -> None:
    made = {kind: STORES[kind](Resources(SystemClock(), tmp_path, str)) for kind in OWN}
    assert not [kind for kind, store in made.items() if Capability.SHARED in store.capabilities]


def rounds(kind: str) -> int:
    """Return how many increments each task makes."""
    if SOAK:
        return 1_000
    return 25 if kind in SLOW | KIN else 250


@pytest.mark.timeout(LIMIT + 10)
async def test_no_increment_is_lost(backend: Backend) -> None:
    """8 tasks in each of 2 processes, 250 increments each, or 25; 1,000 in a soak."""
    with backend.processes(PROCESSES, "count", rounds(backend.kind)) as processes:
        assert [await asyncio.to_thread(each.wait, LIMIT) for each in processes] == [0] * PROCESSES
    async with layers().over(backend.store) as store:
        assert await store.get("visits", collection="c") == TASKS * PROCESSES * rounds(backend.kind)
        await store.destroy()


async def test_processes_that_start_at_once(backend: Backend) -> None:
    with backend.processes(1, "start", STARTING) as (process,):
        assert await asyncio.to_thread(process.wait, LIMIT) == 0
    async with backend.store as store:
        names = [f"process-{number}" for number in range(STARTING)]
        assert await store.get_many(names) == list(range(STARTING))
        await store.destroy()
