"""`kvwrap.sync(store)`: the same methods, for code without asyncio and for threads."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import os
import signal
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

import kvwrap
from kvwrap import (
    ConfigurationError,
    KeyNotFound,
    MemoryStore,
    Passthrough,
    SQLiteStore,
    Statistics,
    Store,
    StoreUnavailable,
    UnsupportedOperation,
    stack,
)
from kvwrap.core.primitives import PRIMITIVES
from kvwrap.views.sync import SyncStore


class Gate(Passthrough):
    """Blocks reads, and records when one is cancelled."""

    def __init__(self):
        self.reached = threading.Event()
        self.cancelled = threading.Event()

    async def read(self, collection, keys):
        self.reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


OTHERS = weakref.WeakSet()
"""The threads of other tests' views, some of which stay open, such as those of Django's caches."""


def threads():
    running = {thread for thread in threading.enumerate() if thread.name == "kvwrap-sync"}
    return list(running - set(OTHERS))


@pytest.fixture(autouse=True)
def no_views_of_other_tests():
    OTHERS.update(threads())


@pytest.fixture
def store():
    with kvwrap.sync(MemoryStore()) as view:
        yield view


def test_it_has_every_method_of_a_store():
    own = {name for name in dir(Store) if not name.startswith("_")}
    asynchronous = {"evicts", "setup", "teardown", "ready", "clone", "claim", "release", "from_url"}
    described = {"arguments", "base", "serializer", "is_open", "typed", "cached"}
    missing = own - set(PRIMITIVES) - asynchronous - described - set(dir(SyncStore))
    public = {name for name in missing if inspect.iscoroutinefunction(getattr(Store, name))}
    assert public == set()
    for name in ("get", "put", "ttl_many", "move"):
        assert getattr(SyncStore, name).__doc__ == getattr(Store, name).__doc__


def test_the_eight_methods(store):
    store.put("a", 1, ttl=60)
    store.put_many(["b", "c"], [2, 3], collection="x")
    assert store.get("a") == 1
    assert store.get_many(["b", "z"], collection="x") == [2, None]
    value, left = store.ttl("a")
    assert value == 1
    assert 0 < left <= 60
    assert store.ttl_many(["b"], collection="x") == [(2, None)]
    assert store.delete("a")
    assert store.delete_many(["b", "c"], collection="x") == 2


def test_the_other_methods(store):
    store.put("a", 1)
    assert store.exists("a")
    assert store.require("a") == 1
    with pytest.raises(KeyNotFound):
        store.require("b")
    assert store.increment("a", 4) == 5
    versioned = store.get_versioned("a")
    assert store.compare_and_put("a", 6, versioned.version)
    assert not store.put_if_absent("a", 7)
    store.put_many(["d", "e"], [1, 2], ttl=[None, 5])
    assert store.ttl("d") == (1, None)
    assert store.compare_and_delete("d", store.get_versioned("d").version)
    assert not store.compare_and_delete("e", 1)
    assert store.delete("e")
    assert store.move("a", "b", target_collection="c")
    assert store.expire("b", 5, collection="c")
    assert store.pop("b", collection="c") == 6
    assert store.pop("b", "none", collection="c") == "none"
    store.put("k", None, collection="c")
    assert store.keys("c") == ["k"]
    assert store.count(collection="c", prefix="k") == 1
    assert store.delete_where(collection="c", prefix="x") == 0
    assert store.collections() == ["c"]
    assert store.destroy_collection("c")
    assert not store.destroy()
    store.cull()
    store.check()


def test_factories_of_get_or_put_may_block_and_call_the_view(store):
    store.put("one", 1)
    assert store.get_or_put("two", lambda: store.get("one") + 1) == 2

    async def three():
        return 3

    assert store.get_or_put("three", three) == 3
    with pytest.raises(ZeroDivisionError):
        store.get_or_put("x", lambda: 1 / 0)


def test_iterators_fetch_one_batch_at_a_time(store):
    keys = [f"{number:04}" for number in range(1234)]
    store.put_many(keys, list(range(1234)))
    assert list(store.scan()) == keys
    assert dict(store.items(prefix="01")) == {f"{n:04}": n for n in range(100, 200)}
    half = store.items(start="0500")
    assert next(half) == ("0500", 500)
    half.close()
    # Other calls are possible between the steps of an iterator.
    scan = store.scan()
    next(scan)
    store.put("zzzz", 1)
    assert len(list(scan)) >= 1233


def test_an_abandoned_iterator_ends_without_an_error():
    view = kvwrap.sync(MemoryStore())
    view.put_many([str(n) for n in range(300)], [0] * 300)
    scan = view.scan()
    next(scan)
    view.close()
    del scan
    gc.collect()


def test_layers_are_found_and_their_coroutines_run():
    with kvwrap.sync(stack().statistics().over(MemoryStore())) as store:
        store.get("a")
        assert store.find(Statistics).snapshot().reads.misses == 1
        assert store.run(store.find(Statistics).read(None, ["a"])) == [None]
        assert store.explain().startswith("Statistics()")
        assert store.capabilities == MemoryStore.capabilities
        assert store.name == "MemoryStore"
        assert [layer.name for layer in store.layers] == ["Statistics"]
        assert store.findings == ()
        assert repr(store) == "sync(Statistics() > MemoryStore())"


def test_many_threads_share_a_view(store):
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: store.increment("n"), range(400)))
    assert sorted(done) == list(range(1, 401))
    assert len(threads()) == 1


def test_calls_see_the_context_variables_of_the_caller():
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    class ReadsVariable(Passthrough):
        async def read(self, collection, keys):
            seen.append(variable.get())
            return await self.inner.read(collection, keys)

    with kvwrap.sync(ReadsVariable().over(MemoryStore())) as store:
        store.get("a")
        variable.set("mine")
        store.get("a")
    assert seen == ["unset", "mine"]


def test_a_mapping_is_accepted_as_a_store():
    backing = {}
    with kvwrap.sync(backing) as store:
        store.put("a", 1)
        assert store.get("a") == 1
    assert backing


async def test_on_an_event_loop_it_refuses(store):
    with pytest.raises(UnsupportedOperation, match="await"):
        store.get("a")
    assert await asyncio.to_thread(store.get, "a") is None


def test_on_its_own_event_loop_it_refuses(store):
    async def calls_back():
        return store.get("a")

    with pytest.raises(UnsupportedOperation, match="event loop"):
        store.run(calls_back())


async def test_a_store_opened_elsewhere_is_refused():
    async with MemoryStore() as opened:
        with pytest.raises(ConfigurationError, match="open already"):
            kvwrap.sync(opened)


def test_an_interrupt_cancels_the_call():
    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    view = kvwrap.sync(Gate().over(MemoryStore()))
    gate = view.find(Gate)

    def interrupt_once_it_waits():
        assert gate.reached.wait(30)
        os.kill(os.getpid(), signal.SIGALRM)

    interrupting = threading.Thread(target=interrupt_once_it_waits)
    interrupting.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            view.get("a")
        assert gate.cancelled.wait(30)
        view.put("b", 1)
        view.close()
    finally:
        interrupting.join(30)
        signal.signal(signal.SIGALRM, before)


def test_closing_ends_the_thread_and_cancels_calls_in_progress():
    view = kvwrap.sync(Gate().over(MemoryStore()))
    gate = view.find(Gate)
    with ThreadPoolExecutor(1) as pool:
        in_progress = pool.submit(view.get, "a")
        assert gate.reached.wait(30)
        view.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            in_progress.result(30)
    assert gate.cancelled.is_set()
    assert threads() == []


def test_closing_closes_the_store_and_opening_again_works():
    log = []

    class Logged(Passthrough):
        async def setup(self):
            log.append("open")

        async def teardown(self):
            log.append("close")

    view = kvwrap.sync(Logged().over(MemoryStore()))
    with view:
        view.put("a", 1)
    assert log == ["open", "close"]
    with view:
        assert view.get("a") == 1
    assert log == ["open", "close"] * 2
    view.close()
    assert threads() == []


def test_a_view_that_cannot_be_opened_leaves_no_thread(tmp_path):
    folder = tmp_path / "later"
    view = kvwrap.sync(SQLiteStore(folder / "entries.db"))
    with pytest.raises(StoreUnavailable, match="existing folder"), view:
        pass
    assert threads() == []
    folder.mkdir()
    with view:
        view.put("a", 1)
    assert threads() == []


def test_the_thread_of_a_garbage_collected_view_ends():
    view = kvwrap.sync(MemoryStore())
    view.get("a")
    (thread,) = threads()
    del view
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()


def test_a_program_that_does_not_close_the_view_ends():
    code = "import kvwrap; store = kvwrap.sync(kvwrap.MemoryStore()); store.put('a', 1)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_use_in_a_forked_child_is_refused():
    code = """if True:
        import os, kvwrap
        store = kvwrap.sync(kvwrap.MemoryStore())
        store.put("a", 1)
        if (child := os.fork()) == 0:
            try:
                store.get("a")
            except kvwrap.StoreUnavailable as error:
                os._exit(0 if "forked" in str(error) else 1)
            os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
