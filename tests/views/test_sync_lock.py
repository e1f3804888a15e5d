"""Locks of blocking views."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kvwrap
from kvwrap import Deadlock, LockLost, LockTimeout, SQLiteStore, UnsupportedOperation
from kvwrap.core.lease import RESERVED, record_key
from kvwrap.views.sync import SyncStore


@pytest.fixture
def backend(tmp_path: Path) -> SQLiteStore:
    return SQLiteStore(tmp_path / "a.db")


@pytest.fixture
def store(backend: SQLiteStore) -> Iterator[SyncStore]:
    with kvwrap.sync(backend) as store:
        yield store


def drop_record(store: SyncStore, backend: SQLiteStore) -> None:
    store.run(backend.remove(RESERVED, [record_key("lock", None, "a")]))


def test_a_block_holds_the_lock(store: SyncStore) -> None:
    with store.lock("a") as first:
        assert first.is_held
        first.check()
        with store.lock("b", collection="c"):
            pass
    assert not first.is_held
    with store.lock("a") as second:
        assert second.fencing > first.fencing


def test_threads_take_turns(store: SyncStore) -> None:
    total = 0

    def work() -> None:
        nonlocal total
        for _ in range(5):
            with store.lock("a"):
                before = total
                time.sleep(0.001)
                total = before + 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert total == 20


def test_a_thread_cannot_wait_for_itself(store: SyncStore) -> None:
    with store.lock("a"), pytest.raises(Deadlock), store.lock("a"):
        pass
    with store.lock("a", wait=0):
        pass


def test_another_thread_waits_only_as_long_as_asked(store: SyncStore) -> None:
    errors: list[Any] = []

    def work() -> None:
        try:
            with store.lock("a", wait=0.01):
                errors.append(None)
        except LockTimeout as error:
            errors.append(error)

    with store.lock("a"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert [type(error) for error in errors] == [LockTimeout]


def test_a_loss_is_told_by_check_and_at_the_end(store: SyncStore, backend: SQLiteStore) -> None:
    def work() -> None:
        with store.lock("a", ttl=0.1) as lease:
            drop_record(store, backend)
            while lease.is_held:
                time.sleep(0.001)
            with pytest.raises(LockLost):
                lease.check()

    with pytest.raises(LockLost):
        work()
    with store.lock("a", wait=0):
        pass


def test_an_error_of_the_block_is_not_replaced(store: SyncStore, backend: SQLiteStore) -> None:
    def work() -> None:
        with store.lock("a"):
            drop_record(store, backend)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()


def test_a_store_without_locks_says_so() -> None:
    with kvwrap.sync(kvwrap.MemoryStore()) as store, pytest.raises(UnsupportedOperation):
        store.lock("a")


def test_a_lock_that_is_dropped_is_released(store: SyncStore) -> None:
    lock = store.lock("a", ttl=3600)
    lock.__enter__()
    del lock
    with store.lock("a"):
        pass
