"""Processes that write while others move the entries, and are killed in the middle of a move."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kvwrap.layers.sharding.rendezvous import Rendezvous
from tests.conftest import SOAK
from tests.layers.sharding.worker import KEYS, backends, sharded

COUNT = 3_000 if SOAK else 200

ROOT = Path(__file__).parents[3]
OF_NEW = [key for key in KEYS if Rendezvous(["a", "b"]).owner(None, key) == "b"]


def start(task: str, urls: list[str], **part: Any) -> subprocess.Popen[str]:
    part = {"task": task, "urls": urls, "seed": 0, "count": 0, "stops_after": None, **part}
    command = [sys.executable, "-m", "tests.layers.sharding.worker", json.dumps(part)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == f"{line}\n"


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    printed, _ = process.communicate()
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(printed)
    return found


@pytest.mark.parametrize("backend", ["sqlite", "redis"])
async def test_nothing_is_lost_when_moves_are_killed_beside_writers(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    urls = [str(tmp_path / f"{number}.db") for number in range(2)]
    if backend == "redis":
        urls = [request.getfixturevalue("redis_url")] * 2
    old, new = backends(urls)
    async with old, new:
        await old.put_many(KEYS, [0] * len(KEYS))
        await old.put("untouched", "value")
        processes = []
        try:
            # The first write of a move is a claim at the new owner, the second one the entry.
            # Nobody writes yet, so each of these stops within a move.
            for stops_after in (1, 2):
                mover = start("rebalance", urls, stops_after=stops_after)
                processes.append(mover)
                wait_for(mover, "reached")
                mover.kill()
            writers = [start("increment", urls, seed=seed, count=COUNT) for seed in (1, 2)]
            processes += writers
            for writer in writers:
                wait_for(writer, "incrementing")
            movers = [start("rebalance", urls) for _ in range(2)]
            processes += movers
            found = [result(writer) for writer in writers]
            for mover in movers:
                result(mover)
        finally:
            for process in processes:
                process.kill()
                process.wait()
                assert process.stdout is not None
                process.stdout.close()
        numbers = [tuple(number) for each in found for number in each["numbers"]]
        assert len(set(numbers)) == len(numbers) == 2 * COUNT, "a number was given twice"
        store = sharded(old, new)
        counted = Counter(key for key, _ in numbers)
        assert await store.get_many(KEYS) == [counted[key] for key in KEYS]
        assert sorted(found[0]["locks"] + found[1]["locks"]) == list(range(COUNT))
        assert await store.get("untouched") == "value"
        assert await old.get_many(OF_NEW) == [None] * len(OF_NEW)
        assert await new.get_many(OF_NEW) == [counted[key] for key in OF_NEW]
        await old.destroy()
        await new.destroy()
