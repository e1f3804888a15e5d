"""`kvwrap.sync(store).watch()`: a blocking iterator over what changes."""

from __future__ import annotations

import gc
import threading

import pytest

import kvwrap
from kvwrap import ALL, Change, ChangeKind, MemoryStore, StoreUnavailable, UnsupportedOperation

PUT = ChangeKind.PUT


class Counting(MemoryStore):
    """Counts the subscriptions that are open, and tells when there are none."""

    def __init__(self) -> None:
        super().__init__()
        self.open_subscriptions = 0
        self.has_none = threading.Event()

    async def subscribe(self, scope, listener):
        self.open_subscriptions += 1
        return _Counted(self, await super().subscribe(scope, listener))


class _Counted:
    def __init__(self, store, subscription):
        self.store, self.subscription = store, subscription

    heard_at = float("inf")

    async def close(self):
        await self.subscription.close()
        self.store.open_subscriptions -= 1
        if not self.store.open_subscriptions:
            self.store.has_none.set()


def test_what_changes_after_the_call_is_told():
    with kvwrap.sync(kvwrap.stack().prefix_key("p/").over(MemoryStore())) as store:
        every, some = store.watch(), store.watch(collection="c", prefix="k")
        store.put("a", 1)
        store.put_many(["k1", "x", "k2"], [1, 2, 3], collection="c")
        assert [next(some), next(some)] == [Change(PUT, "c", "k1"), Change(PUT, "c", "k2")]
        assert next(every) == Change(PUT, None, "a")
        store.delete("a")
        told = [next(every) for _ in range(4)]
        assert told[-1] == Change(ChangeKind.REMOVED, None, "a")


def test_it_ends_when_it_is_closed_or_dropped():
    backend = Counting()
    with kvwrap.sync(backend) as store:
        store.put("a", 1)
        changes = store.watch(collection=ALL)
        store.put("a", 1)
        next(changes)
        changes.close()
        assert backend.has_none.wait(30)
        backend.has_none.clear()
        never_begun = store.watch()
        del never_begun
        gc.collect()
        assert backend.has_none.wait(30)
        assert list(changes) == []


def test_closing_the_view_ends_a_reader_that_waits():
    store = kvwrap.sync(MemoryStore())
    store.open()
    changes = store.watch()
    errors = []

    def read():
        try:
            next(changes)
        except StoreUnavailable as error:
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    store.close()
    reader.join(30)
    assert len(errors) == 1


def test_what_cannot_be_watched_is_told_at_the_call():
    with (
        kvwrap.sync(kvwrap.stack().hash_keys(b"s" * 16).over(MemoryStore())) as store,
        pytest.raises(UnsupportedOperation, match="hashes"),
    ):
        store.watch()
