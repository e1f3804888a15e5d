"""Resuming a rewrite after an interruption or a failing backend."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kvwrap import (
    MemoryStore,
    Statistics,
    Store,
    StoreUnavailable,
    rewrite,
    stack,
)
from kvwrap.rewriting.rewrite import Progress
from tests.rewriting.entries import NEW, OLD, Interloper, contents_of, fill


@pytest.mark.parametrize("kind", ["path", "mapping"])
async def test_it_resumes_where_it_stopped(
    backend: Callable[[], Store], tmp_path: Path, kind: str
) -> None:
    base = backend()
    values = await fill(stack().encrypt(OLD).over(base), 100)
    store = stack().encrypt(NEW).over(base)
    path = tmp_path / "state.json"
    seen: list[Progress] = []

    def interrupt(progress: Progress) -> None:
        seen.append(progress)
        if progress.report.seen == 150:
            raise KeyboardInterrupt

    resume: Any = path if kind == "path" else None
    with pytest.raises(KeyboardInterrupt):
        await rewrite(store, batch=25, progress=interrupt, resume=resume)
    if kind == "mapping":
        resume = json.loads(json.dumps(seen[-1].state))

    report = await rewrite(store, batch=25, resume=resume)
    assert (report.seen, report.rewritten) == (300, 300)
    assert report.keys == {"new": 300}
    assert report.complete
    assert not path.exists()
    assert await contents_of(store, [None, "users", "orders"]) == values


async def test_finished_keys_are_not_read_again(
    backend: Callable[[], Store], tmp_path: Path
) -> None:
    base = backend()
    await fill(stack().encrypt(OLD).over(base), 100)
    store = stack().encrypt(NEW).statistics().over(base)

    def interrupt(progress: Progress) -> None:
        if progress.report.seen == 250:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rewrite(store, batch=50, progress=interrupt, resume=tmp_path / "state")
    store.find(Statistics).reset()
    await rewrite(store, batch=50, resume=tmp_path / "state")
    assert store.find(Statistics).snapshot().reads.keys == 50


async def test_the_state_of_another_rewrite_is_ignored(tmp_path: Path) -> None:
    base = MemoryStore()
    await fill(stack().encrypt(OLD).over(base), 20)
    states: list[Any] = []
    await rewrite(
        stack().encrypt(NEW).over(base), progress=lambda progress: states.append(progress.state)
    )
    newest = NEW.with_key("newest").promoted("newest")
    report = await rewrite(stack().encrypt(newest).over(base), resume=states[-1])
    assert report.rewritten == 60
    dry = await rewrite(stack().encrypt(NEW).over(base), resume=states[-1], dry_run=True)
    assert dry.seen == 60


async def test_the_state_of_another_compression_is_ignored() -> None:
    """Also beside dictionaries, whose own records do not pass the compression."""
    base = MemoryStore()
    old, new = (
        stack().compress(min_size=size, dictionaries=True).encrypt(NEW).over(base)
        for size in (10_000, 64)
    )
    await fill(old, 20)
    states: list[Any] = []
    await rewrite(old, progress=lambda progress: states.append(progress.state))
    assert (await rewrite(new, resume=states[-1])).rewritten == 60


async def test_a_failing_backend_is_not_a_failure_of_an_entry(tmp_path: Path) -> None:
    base = MemoryStore()
    await fill(stack().encrypt(OLD).over(base), 50)
    store = stack().encrypt(NEW).layer(Interloper()).over(base)

    async def fail() -> None:
        raise StoreUnavailable("gone")

    def arm(progress: Progress) -> None:
        if progress.report.seen == 100:
            store.find(Interloper).act = fail

    with pytest.raises(StoreUnavailable):
        await rewrite(store, batch=25, progress=arm, resume=tmp_path / "state")
    report = await rewrite(store, batch=25, resume=tmp_path / "state")
    assert (report.seen, report.rewritten, report.failed) == (150, 150, 0)


async def test_the_fields_of_a_state_stay() -> None:
    """A state that was stored by one version of kvwrap is read by the next."""
    store = stack().encrypt(NEW).over(MemoryStore())
    await store.put("k", 1)
    states: list[dict[str, Any]] = []
    await rewrite(store, progress=lambda progress: states.append(progress.state))
    report = states[0].pop("report")
    target = states[0].pop("target")
    assert states[0] == {
        "store": "MemoryStore",
        "done": [],
        "place": "values",
        "collection": None,
        "after": "k",
        "format": 2,
    }
    assert (report["seen"], report["current"]) == (1, 1)
    assert target[-3:] == ["collections=None", "prefix=''", "dry_run=False"]
