"""Processes whose clocks differ, one that repairs, and a replica that fails at random."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kvwrap.layers.replication import Replication
from tests.conftest import HOUR, SOAK
from tests.layers.replication.worker import replicated

INCREMENTS = [20_000] * 3 if SOAK else [5_000, 1_000, 1_000]

LIMIT = HOUR if SOAK else 100
"""Seconds. Where the first replica fails, a busy machine acknowledged 50 increments a second."""

ROOT = Path(__file__).parents[3]


def start(task: str, urls: list[str], **part: Any) -> subprocess.Popen[str]:
    part = {"task": task, "urls": urls, "ahead": 0.0, "failing": None, "count": 0, **part}
    command = [sys.executable, "-m", "tests.layers.replication.worker", json.dumps(part)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


async def count_by_two_processes(urls: list[str], total: int, failing: dict[str, Any]) -> int:
    """Increment in two processes beside a repair. Returns how many numbers were given twice.

    Fails unless the counter is at the number of acknowledged increments at the end.
    """
    processes = [start("repair", urls)]
    try:
        assert processes[0].stdout is not None
        assert processes[0].stdout.readline() == "repairing\n"
        for ahead in (-0.1, 0.1):
            processes.append(
                start("increment", urls, ahead=ahead, failing=failing, count=total // 2)
            )
        numbers: list[int] = []
        for process in processes[1:]:
            printed, _ = process.communicate(timeout=LIMIT)
            assert process.returncode == 0
            numbers += json.loads(printed)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    async with replicated(urls, 0.0) as store:
        await store.find(Replication).repair_all()
        assert await store.get("n") == len(numbers) == total
        await store.destroy()
    return len(numbers) - len(set(numbers))


@pytest.mark.parametrize(("failing", "total"), [(2, INCREMENTS[0]), (0, INCREMENTS[1])])
async def test_every_acknowledged_increment_counts_over_sqlite(
    tmp_path: Path, failing: int, total: int
) -> None:
    urls = [str(tmp_path / f"{number}.db") for number in range(3)]
    chaos = {"replica": failing, "failure_rate": 0.2, "seed": failing}
    assert await count_by_two_processes(urls, total, chaos) == 0


async def test_every_acknowledged_increment_counts_over_redis(redis_url: str) -> None:
    chaos = {"replica": 1, "failure_rate": 0.2}
    assert await count_by_two_processes([redis_url] * 3, INCREMENTS[2], chaos) == 0
