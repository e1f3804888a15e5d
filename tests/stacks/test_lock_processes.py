"""A lock that eight processes share, whose holders are killed and paused."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kvwrap.core.clock import SystemClock
from kvwrap.testing.servers import LocalServer, SharedServers
from tests.catalog import STORES, Resources
from tests.conftest import SOAK
from tests.stacks.lock_worker import Counter

PROCESSES = 8
LEASE = 0.5
ROUNDS = 2_000 if SOAK else 400

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system has no SIGSTOP"),
]


class Crowd:
    """Processes that count under a lock; those that are killed are replaced."""

    def __init__(self, kind: str, folder: Path, servers: SharedServers, ttl: float) -> None:
        self._environment = dict(os.environ)

        def url(server: type[LocalServer]) -> str:
            found = servers.url(server)
            self._environment[server.url_variable()] = found
            return found

        resources = Resources(SystemClock(), folder, url)
        STORES[kind](resources)  # its server is started, and its URL known
        self._arguments = (kind, str(folder), resources.name, str(ROUNDS), str(ttl))
        self.counter = Counter(f"{folder}/counter.db")
        self.counter.create()
        self.members: dict[int, subprocess.Popen[bytes]] = {}

    def add(self) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.stacks.lock_worker", *self._arguments],
            cwd=Path(__file__).parents[2],
            env=self._environment,
        )
        self.members[process.pid] = process

    def wait_for(self, value: int, seconds: float = math.inf) -> None:
        """Wait until the counter has this value, for some seconds at most."""
        end = time.monotonic() + seconds
        while self.counter.state()[0] < value and time.monotonic() < end:
            assert all(each.poll() is None for each in self.members.values())
            time.sleep(0.01)

    def kill_holder(self) -> None:
        pid = self.counter.state()[2]
        process = self.members.pop(pid, None)
        if process is not None:
            process.kill()
            process.wait()
            self.add()

    def stop_holder(self, *, value: int | None = None, seconds: float = 0.0) -> None:
        """Pause the holder for some seconds, or until the others have counted to a value.

        They cannot if it holds a lock of the system in that moment, so the pause has an end.
        """
        pid = self.counter.state()[2]
        if pid in self.members:
            os.kill(pid, signal.SIGSTOP)
            try:
                time.sleep(seconds)
                if value is not None:
                    self.wait_for(value, 3 * LEASE)
            finally:
                os.kill(pid, signal.SIGCONT)

    def join(self) -> None:
        for process in self.members.values():
            assert process.wait() == 0

    def close(self) -> None:
        for process in self.members.values():
            process.kill()
            process.wait()
        self.counter.close()


Crowds = Callable[[float], Crowd]


@pytest.fixture(params=["redis", "sqlite"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def crowds(kind: str, tmp_path: Path, servers: SharedServers) -> Iterator[Crowds]:
    """Provide a function that starts the processes, for a ttl of the lock."""
    with ExitStack() as stack:

        def start(ttl: float) -> Crowd:
            crowd = Crowd(kind, tmp_path, servers, ttl)
            stack.callback(crowd.close)
            for _ in range(PROCESSES):
                crowd.add()
            return crowd

        yield start


def test_fencing_numbers_protect_from_holders_that_were_paused(crowds: Crowds) -> None:
    crowd = crowds(LEASE)
    chance = random.Random(1)
    moments = sorted(chance.sample(range(5, ROUNDS - 5), ROUNDS // 40))
    for moment in moments:
        crowd.wait_for(moment)
        if chance.random() < 0.5:
            crowd.kill_holder()
        else:
            crowd.stop_holder(value=moment + 2)
    crowd.join()
    value, _, _ = crowd.counter.state()
    assert value == sum(counts for *_, counts in crowd.counter.blocks()) == ROUNDS


def test_blocks_do_not_overlap_without_a_pause_longer_than_the_lease(crowds: Crowds) -> None:
    crowd = crowds(5.0)
    chance = random.Random(2)
    moments = sorted(chance.sample(range(5, ROUNDS - 5), ROUNDS // 40))
    for index, moment in enumerate(moments):
        crowd.wait_for(moment)
        if index % 5 == 0:
            crowd.kill_holder()
        else:
            crowd.stop_holder(seconds=0.1)
    crowd.join()
    latest = 0.0
    for _, begun, ended, _ in crowd.counter.blocks():
        assert begun >= latest
        latest = begun if ended is None else ended
