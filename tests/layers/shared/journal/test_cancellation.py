"""After a cancelled write all readers see one order: no read shows the state before it, and a later
one the state after it."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kvwrap import ConfigurationError, MemoryStore, Stack, Store, StoreUnavailable, stack
from kvwrap.layers.fallback import Fallback
from kvwrap.layers.shared.journal.file import JournalFile
from kvwrap.layers.write_behind import WriteBehind
from kvwrap.testing import ManualClock
from tests.conftest import SOAK
from tests.layers.faulty import FaultyStore


class Commits(threading.Event):
    """Set while commits may go on.

    Attributes:
        begun: Set when a commit is on its thread.
    """

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commits]:
    """Provide an event that commits of journals wait for."""
    allowed = Commits()
    allowed.set()
    accept = JournalFile.accept

    def held(self: JournalFile, *arguments: Any) -> None:
        allowed.begun.set()
        allowed.wait(30)
        accept(self, *arguments)

    monkeypatch.setattr(JournalFile, "accept", held)
    yield allowed
    allowed.set()


@pytest.fixture(params=["write_behind", "fallback"])
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[FaultyStore], Store]:
    path = tmp_path / "journal"
    if request.param == "write_behind":
        return lambda backend: WriteBehind(path, shutdown_timeout=0).over(backend)
    return lambda backend: Fallback(
        MemoryStore, writes="journal", journal=path, failures=1000, recovery_delay=0
    ).over(backend)


@pytest.mark.parametrize("method", ["get", "increment", "keys", "pop"])
async def test_what_is_asked_after_a_cancelled_write_waits_for_its_commit(
    build: Callable[[FaultyStore], Store],
    backend: FaultyStore,
    commits: Commits,
    method: str,
) -> None:
    async with build(backend) as store:
        await store.put("n", 1)
        backend.down = StoreUnavailable("down")
        commits.clear()
        commits.begun.clear()
        write = asyncio.create_task(store.put("n", 10))
        await asyncio.to_thread(commits.begun.wait, 30)
        write.cancel()
        with pytest.raises(asyncio.CancelledError):
            await write
        backend.down = False
        arguments = () if method == "keys" else ("n",)
        call = asyncio.create_task(getattr(store, method)(*arguments))
        await ManualClock.settle()
        assert not call.done()
        commits.set()
        expected = {"get": 10, "increment": 11, "keys": ["n"], "pop": 10}[method]
        assert await call == expected
        layer = next(part for part in store.parts if isinstance(part, WriteBehind | Fallback))
        await layer.flush()
        assert await backend.get("n") == {"increment": 11, "pop": None}.get(method, 10)


def stacks(path: Path, seed: int) -> dict[str, Stack]:
    fast: dict[str, Any] = {"failures": 2, "open_for": 0.01}
    return {
        "write_behind": stack().write_behind(path, retry_after=0.005, batch=3),
        "journal": stack().fallback(
            MemoryStore(), writes="journal", journal=path, recovery_delay=0, **fast
        ),
        "both": stack().fallback(MemoryStore(), writes="both", **fast),
        "both, copies fail": stack().fallback(
            stack().chaos(seed=seed, **FAULTS).over(MemoryStore()), writes="both", **fast
        ),
    }


FAULTS: dict[str, Any] = {
    "failure_rate": 0.05,
    "lost_rate": 0.05,
    "delay": (0, 0.001),
    "reply_delay": (0, 0.001),
}


@pytest.mark.parametrize("kind", ["write_behind", "journal", "both", "both, copies fail"])
@pytest.mark.parametrize("seed", range(100 if SOAK else 2))
async def test_every_answer_is_one_that_the_history_allows(
    kind: str, seed: int, tmp_path: Path
) -> None:
    """With failures, lost answers and cancellation; each task has keys of its own."""
    layers = stacks(tmp_path / "journal", seed)[kind].chaos(seed=seed, **FAULTS)
    async with layers.over(MemoryStore()) as store:
        await asyncio.gather(*(check(store, task, seed) for task in range(12)))


async def check(store: Store, task: int, seed: int) -> None:
    rng = random.Random(1000 * seed + task)
    states: dict[str, set[int | None]] = {f"{task}-{n}": {None} for n in range(3)}
    for number in range(1, 30):
        key = rng.choice(list(states))
        allowed = states[key]
        method = rng.choice(["put", "get", "delete", "increment", "put_if_absent", "pop"])
        arguments = (number,) if method in ("put", "put_if_absent") else ()
        call = asyncio.ensure_future(getattr(store, method)(key, *arguments))
        if rng.random() < 0.15:
            asyncio.get_running_loop().call_later(rng.random() * 0.004, call.cancel)
        try:
            result = await call
        except (StoreUnavailable, asyncio.CancelledError):
            states[key] = allowed | {after(method, state, number)[0] for state in allowed}
            continue
        outcomes = [after(method, state, number) for state in allowed]
        possible = {state for state, answer in outcomes if answer in (result, ...)}
        assert possible, f"{method}({key!r}) gave {result!r}, the state was one of {allowed}"
        states[key] = possible


def after(method: str, state: int | None, number: int) -> tuple[int | None, Any]:
    """Return the state after a call, and what it returns; `...` for anything."""
    match method:
        case "put":
            return number, ...
        case "delete":
            return None, ...  # in an outage nobody knows
        case "increment":
            return (state or 0) + 1, (state or 0) + 1
        case "put_if_absent":
            return (number, True) if state is None else (state, False)
        case "pop":
            return None, state
        case _:
            return state, state


def test_a_commit_that_a_stopped_loop_left_behind_holds_nobody_up(
    tmp_path: Path, commits: Commits
) -> None:
    store = stack().write_behind(tmp_path / "journal").over(MemoryStore())

    async def cancel_a_put() -> None:
        await store.open()
        commits.begun.clear()
        commits.clear()
        putting = asyncio.create_task(store.put("k", 1))
        while not commits.begun.is_set():
            await asyncio.sleep(0.001)
        putting.cancel()
        await asyncio.gather(putting, return_exceptions=True)

    async def use() -> None:
        async with asyncio.timeout(30):
            await store.get("k")
            await store.put("k", 2)
            assert await store.get("k") == 2

    with asyncio.Runner() as stopped:
        stopped.run(cancel_a_put())
        commits.set()
        asyncio.run(use())


async def test_an_opening_that_was_cancelled_leaves_the_journal_to_others(
    build: Callable[[FaultyStore], Store], backend: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_open = threading.Event(), threading.Event()
    opened: list[JournalFile] = []

    def open_late(*arguments: Any) -> JournalFile:
        begun.set()
        may_open.wait(60)
        opened.append(JournalFile(*arguments))
        return opened[0]

    with monkeypatch.context() as patch:
        patch.setattr("kvwrap.layers.shared.journal.journal.JournalFile", open_late)
        opening = asyncio.create_task(build(backend).open())
        await asyncio.to_thread(begun.wait, 60)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    may_open.set()
    async with asyncio.timeout(60):
        while True:  # until what was opened too late is closed
            try:
                async with build(backend) as store:
                    await store.put("k", 1)
                break
            except ConfigurationError:
                await asyncio.sleep(0.001)
    assert opened
