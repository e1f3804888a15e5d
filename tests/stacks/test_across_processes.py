"""Four processes whose tasks ask for one key that is missing: one of them computes it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from kvwrap.core.across import LEASE
from kvwrap.testing.servers import PostgreSQLServer, RedisServer, SharedServers
from tests.conftest import SOAK
from tests.stacks.across_worker import SECONDS

PROCESSES = 4
TASKS = 1_000
ROUNDS = 10 if SOAK else 1
SLACK = 1.0 if SOAK else 20.0
"""Seconds after the end of a lease until everybody is answered: more on a busy machine."""

pytestmark = pytest.mark.timeout(300)


class Crowd:
    """Processes that ask for one key."""

    def __init__(self, url: str, file: Path, key: str) -> None:
        self._file = file
        file.write_text("")
        self.members = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.stacks.across_worker", url, file, str(TASKS), key],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(PROCESSES)
        ]

    def begin(self) -> None:
        """Let all of them ask, as soon as all are ready."""
        for member in self.members:
            assert member.stdout is not None
            assert member.stdout.readline() == "ready\n"
        for member in self.members:
            assert member.stdin is not None
            member.stdin.write("\n")
            member.stdin.flush()

    def computations(self) -> list[int]:
        """Return the processes that began to compute, in order."""
        return [int(line) for line in self._file.read_text().splitlines()]

    def answers(self) -> tuple[set[int], float]:
        """Return the values that were answered, and when the last one was."""
        values, last = set[int](), 0.0
        for member in self.members:
            output, _ = member.communicate()
            if member.returncode == 0:
                found, ended = json.loads(output)
                values.update(found)
                last = max(last, ended)
        return values, last

    def close(self) -> None:
        for member in self.members:
            member.kill()
            member.communicate()


@pytest.fixture(params=["redis", "postgresql"])
def crowds(
    request: pytest.FixtureRequest, tmp_path: Path, servers: SharedServers
) -> Iterator[Iterator[Crowd]]:
    """Provide crowds, each of which asks for a key of its own."""
    server = {"redis": RedisServer, "postgresql": PostgreSQLServer}[request.param]
    crowds: list[Crowd] = []

    def each() -> Iterator[Crowd]:
        for _ in range(ROUNDS):
            url = f"{servers.url(server)}?timeout=60"  # all tasks read at once
            crowds.append(Crowd(url, tmp_path / "computations", uuid4().hex))
            yield crowds[-1]

    yield each()
    for crowd in crowds:
        crowd.close()


def test_one_process_computes(crowds: Iterator[Crowd]) -> None:
    for crowd in crowds:
        crowd.begin()
        values, _ = crowd.answers()
        assert crowd.computations() == list(values)
        assert [member.returncode for member in crowd.members] == [0] * PROCESSES


def test_another_process_computes_if_the_first_is_killed(crowds: Iterator[Crowd]) -> None:
    for crowd in crowds:
        crowd.begin()
        while not crowd.computations():
            time.sleep(0.01)
        time.sleep(SECONDS / 2)
        (first,) = crowd.computations()
        (member,) = (each for each in crowd.members if each.pid == first)
        killed = time.monotonic()
        member.kill()
        values, last = crowd.answers()
        (_, second) = crowd.computations()
        assert values == {second}
        assert sorted(each.returncode for each in crowd.members) == [-9, 0, 0, 0]
        assert last - killed <= LEASE + SLACK
