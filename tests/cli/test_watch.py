"""`kvwrap watch`: changes as they happen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kvwrap import MemoryStore
from kvwrap.core.changes import Change, ChangeKind, Listener, Scope, Subscription
from tests.cli.conftest import Run

CHANGES = [
    Change(ChangeKind.PUT, None, "a\x1b"),
    Change(ChangeKind.REMOVED, "users", "b"),
    Change(ChangeKind.LOST),
]


@pytest.fixture
def scopes(monkeypatch: pytest.MonkeyPatch) -> list[Scope]:
    """Let stores in memory tell some changes at once. Returns what was asked for."""
    asked: list[Scope] = []
    subscribe = MemoryStore.subscribe

    async def subscribe_and_tell(
        self: MemoryStore, scope: Scope, listener: Listener
    ) -> Subscription:
        asked.append(scope)
        for change in CHANGES if len(asked) > 1 else CHANGES[:2]:
            listener(change)
        return await subscribe(self, scope, listener)

    monkeypatch.setattr(MemoryStore, "subscribe", subscribe_and_tell)
    return asked


def test_changes_are_printed(scopes: list[Scope], run: Run) -> None:
    result = run("watch", "memory://", "--limit", "2")
    first, second = result.out.splitlines()
    assert result.code == 0
    assert first.split()[1:] == ["put", "(default)", "'a\\x1b'"]
    assert second.split()[1:] == ["removed", "users", "b"]
    assert run("watch", "memory://", "--limit", "1").out.split()[1] == "lost"
    assert "`--limit` must be" in run("watch", "memory://", "--limit", "0").err


def test_changes_are_printed_for_programs(scopes: list[Scope], run: Run) -> None:
    out = run("watch", "memory://", "-c", "users", "--prefix", "p", "--limit", "2", "--json").out
    assert [json.loads(line) for line in out.splitlines()] == [
        {"kind": "put", "collection": None, "key": "a\x1b"},
        {"kind": "removed", "collection": "users", "key": "b"},
    ]
    run("watch", "memory://", "-c", "", "--limit", "1")
    assert [(scope.collection, scope.prefix) for scope in scopes] == [("users", "p"), (None, "")]


def test_a_store_that_cannot_tell_is_refused(tmp_path: Path, run: Run) -> None:
    result = run("watch", f"file-tree://{tmp_path}")
    assert result.code == 2
    assert "watch" in result.err


def test_what_another_process_changes_is_printed(redis_url: str, run: Run) -> None:
    watching = [sys.executable, "-m", "kvwrap", "watch", redis_url, "-c", "watched", "--json"]
    with subprocess.Popen(
        [*watching, "--limit", "1"], stdout=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None:  # until it listens
            assert run("put", redis_url, "w", "1", "-c", "watched").code == 0
        assert process.stdout is not None
        change = json.loads(process.stdout.readline())
    assert process.returncode == 0
    assert (change["collection"], change["key"]) == ("watched", "w")
