"""Entries of one tag that four processes read, in one of which it is invalidated."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kvwrap import Tags
from kvwrap.core.clock import SystemClock
from kvwrap.testing.servers import LocalServer, SharedServers
from tests.catalog import Resources
from tests.conftest import SOAK
from tests.stacks.tag_worker import batches, tagged

ENTRIES = 100_000 if SOAK else 3_000
PROCESSES = 3
"""Those that read, besides this one."""
BOUND = 1.0
"""Seconds after an invalidation from which on no read may find what it ended."""

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system has no SIGSTOP"),
]


def line(process: subprocess.Popen[str]) -> str:
    """Return the next line that a process prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("kind", ["redis", "postgresql", "etcd"])
def test_no_process_finds_an_invalidated_entry_after_the_bound(
    kind: str, tmp_path: Path, servers: SharedServers
) -> None:
    environment = dict(os.environ)

    def url(server: type[LocalServer]) -> str:
        found = servers.url(server)
        environment[server.url_variable()] = found
        return found

    resources = Resources(SystemClock(), tmp_path, url)
    store = tagged(kind, resources)
    arguments = (kind, str(tmp_path), resources.name, str(ENTRIES))
    processes: list[subprocess.Popen[str]] = []

    async def invalidate() -> float:
        async with store:
            for keys in batches(ENTRIES):
                await store.put_many(keys, keys, tags=["all", keys[0]])
            await store.put("kept", 1, tags=["other"])
            for _ in range(PROCESSES):
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "tests.stacks.tag_worker", *arguments],
                        cwd=Path(__file__).parents[2],
                        env=environment,
                        stdout=subprocess.PIPE,
                        text=True,
                    )
                )
            for process in processes:
                assert line(process) == "all were read"
            # One that is paused meanwhile hears nothing, and must not believe its copies after it.
            os.kill(processes[0].pid, signal.SIGSTOP)
            await store.find(Tags).invalidate("all")
            invalidated_at = time.monotonic()
            for keys in batches(ENTRIES):
                assert await store.get_many([*keys, "kept"]) == [*[None] * len(keys), 1]
            return invalidated_at

    try:
        invalidated_at = asyncio.run(invalidate())
        latest = [json.loads(line(process)) for process in processes[1:]]
        time.sleep(max(0.0, invalidated_at + BOUND - time.monotonic()))
        os.kill(processes[0].pid, signal.SIGCONT)
        latest.append(json.loads(line(processes[0])))
        assert [process.wait() for process in processes] == [0] * PROCESSES
    finally:
        for process in processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
    assert max(latest) < invalidated_at + BOUND
