"""Blocking views that end: at exit, by an interrupt, by garbage collection, in a forked child."""

from __future__ import annotations

import asyncio
import gc
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import kvwrap
from kvwrap import MemoryStore, StoreTimeout, StoreUnavailable, UnsupportedOperation

SECONDS = 90
"""For which what is not waited for lasts: longer than a program may take to end."""

STORES = {
    "memory": "kvwrap.MemoryStore()",
    "sqlite": "kvwrap.SQLiteStore(path)",
    "journal": "kvwrap.stack().write_behind(path).over(kvwrap.SQLiteStore(path + '.db'))",
}


def run(code: str, *arguments: str, status: int = 0) -> str:
    """Run a program, and return what it printed. Nothing else may be on its standard error."""
    program = [sys.executable, "-X", "dev", "-c", f"import kvwrap\n{code}", *arguments]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    # Development mode also reports steps of a loop that take long, as all do on a busy machine,
    # from Python 3.12 on that a process with threads is forked, which some programs here do, and
    # from 3.13 on that a database was left to the garbage collector.
    reports = (
        "Executing <",
        "use of fork() may lead to",
        "unclosed database",
        "Enable tracemalloc",
    )
    errors = [
        line
        for line in done.stderr.splitlines()
        if not any(report in line for report in reports) and not line.startswith("  ")
    ]
    assert (done.returncode, errors) == (status, [])
    return done.stdout.strip()


FULL = (
    "store = kvwrap.sync(kvwrap.MemoryStore()); store.put_many([*map(str, range(300))], [0] * 300)"
)
HALFWAY = {
    "module level": "it = store.scan(); print(next(it))",
    "zip": "pairs = zip(store.items(), 'a'); print(list(pairs)[0][0][0])",
    "a loop": "for key in store.scan(): break\nprint(key)",
    "a cycle": "class A: pass\na = A(); a.me = a; a.it = store.scan(); print(next(a.it)); del a",
    "a mapping": "it = iter(kvwrap.mapping(store)); print(next(it))",
    "another thread": (
        "import threading\nits = []\n"
        "def read(): its.append(store.scan()); print(next(its[0]))\n"
        "t = threading.Thread(target=read); t.start(); t.join()"
    ),
}


@pytest.mark.parametrize("where", HALFWAY)
def test_an_iterator_left_halfway_does_not_keep_the_program(where: str) -> None:
    assert run(f"{FULL}\n{HALFWAY[where]}") == "0"


def test_a_finalizer_that_uses_the_view_after_the_end_gets_an_error() -> None:
    code = """
        class Saver:
            def __del__(self):
                try:
                    store.put("last", 1)
                except kvwrap.StoreUnavailable as error:
                    print("ended" in str(error))
                try:
                    store.close()
                except kvwrap.StoreUnavailable as error:
                    print("ended" in str(error))
        store = kvwrap.sync(kvwrap.MemoryStore())
        store.put("first", 1)
        saver = Saver()
    """
    assert run(f"if True:{code}").split() == ["True", "True"]


@pytest.mark.parametrize("kind", STORES)
def test_a_view_works_in_atexit_and_after_the_main_thread(kind: str, tmp_path: Path) -> None:
    # Python 3.12 starts no thread in a program that ends, and a new view needs one.
    again = not ((3, 12) <= sys.version_info < (3, 13))
    code = f"""
        import atexit, sys, threading
        path = sys.argv[1]
        def new(): return {STORES[kind]}
        store = kvwrap.sync(new())
        store.put("a", 1)
        def later():
            threading.main_thread().join()
            store.put("b", store.get_or_put("c", lambda: store.get("a") + 1))
        def at_exit():
            store.put("d", store.get("b") + 1)
            store.close()
            if path and {again}:
                with kvwrap.sync(new()) as again:
                    print(again.get_many(["a", "b", "c", "d"]))
        threading.Thread(target=later).start()
        atexit.register(at_exit)
    """
    path = "" if kind == "memory" else str(tmp_path / "file")
    assert run(f"if True:{code}", path) == ("[1, 2, 2, 3]" if path and again else "")


def test_a_factory_that_blocks_delays_neither_close_nor_the_end() -> None:
    code = f"""
        import threading, time
        store, begun = kvwrap.sync(kvwrap.MemoryStore()), threading.Barrier(3)
        release, refused = threading.Event(), []
        def block(seconds): begun.wait(); release.wait(seconds)
        def call(seconds):
            try:
                store.get_or_put(str(seconds), lambda: block(seconds))
            except kvwrap.StoreUnavailable:
                refused.append(seconds)
        threads = [threading.Thread(target=call, args=(s,), daemon=True) for s in (60, 61)]
        threads[0].start()
        threads[1].start()
        begun.wait()
        store.close()
        print("closed")
        release.set()
        threads[0].join()
        threads[1].join()
        print(len(refused), "refused")
        held = kvwrap.sync(kvwrap.MemoryStore())
        begun = threading.Barrier(2)
        def sleep(): begun.wait(); time.sleep({SECONDS})
        threading.Thread(target=lambda: held.get_or_put("a", sleep), daemon=True).start()
        begun.wait()
    """
    assert run(f"if True:{code}").split() == ["closed", "2", "refused"]


def test_a_program_ends_by_an_interrupt_of_a_factory_that_blocks() -> None:
    code = f"""
        import signal, time
        store = kvwrap.sync(kvwrap.MemoryStore())
        def block(): signal.alarm(1); time.sleep({SECONDS})
        def interrupt(*_): raise KeyboardInterrupt
        signal.signal(signal.SIGALRM, interrupt)
        try:
            store.get_or_put("a", block)
        except KeyboardInterrupt:
            print("interrupted", store.get("a"))
    """
    if not hasattr(signal, "alarm"):
        code = code.replace("signal.alarm(1)", "signal.raise_signal(signal.SIGINT)")
    assert run(f"if True:{code}") == "interrupted None"


def test_factories_within_factories_of_many_threads_do_not_starve() -> None:
    together = threading.Barrier(40)
    results: list[int] = []
    with kvwrap.sync(MemoryStore()) as store:

        def outer(number: int) -> int:
            together.wait(10)
            value: int = store.get_or_put(f"inner {number}", lambda: number)
            return value

        def call(number: int) -> None:
            results.append(store.get_or_put(f"outer {number}", lambda: outer(number)))

        threads = [threading.Thread(target=call, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert sorted(results) == list(range(40))


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, StopIteration])
def test_a_factory_that_exits_ends_its_caller_only(error: type[BaseException]) -> None:
    def fail() -> None:
        raise error

    async def fail_async() -> None:
        raise error

    expected = RuntimeError if error is StopIteration else error
    with kvwrap.sync(MemoryStore()) as store:
        for factory in (fail, fail_async):
            with pytest.raises(expected):
                store.get_or_put("a", factory)
        with pytest.raises(expected):
            store.run(fail_async())
        store.put("a", 1)
        assert store.get("a") == 1


def test_a_task_that_ignores_its_cancellation_does_not_hold_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kvwrap.views.portal.END_TIMEOUT", 0.05)
    go = threading.Event()

    async def stubborn() -> None:
        while not go.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    view = kvwrap.sync(MemoryStore())

    async def begin() -> asyncio.Task[None]:
        return asyncio.create_task(stubborn())

    task = view.run(begin())
    with pytest.raises(StoreTimeout, match="cancellation"):
        view.close()
    go.set()
    assert task is not None
    monkeypatch.setattr("kvwrap.views.portal.END_TIMEOUT", 30)
    view.close()


async def test_close_on_a_thread_that_runs_a_loop_changes_nothing() -> None:
    view = kvwrap.sync(MemoryStore())
    await asyncio.to_thread(view.put, "a", 1)
    with pytest.raises(UnsupportedOperation, match="event loop"):
        view.close()
    assert await asyncio.to_thread(view.get, "a") == 1
    await asyncio.to_thread(view.close)


def test_close_on_the_views_own_thread_is_refused() -> None:
    with kvwrap.sync(MemoryStore()) as view:

        async def close() -> None:
            view.close()

        with pytest.raises(UnsupportedOperation, match="event loop"):
            view.run(close())
        view.put("a", 1)


def test_a_thread_that_cannot_start_is_an_error_of_kvwrap(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    view = kvwrap.sync(MemoryStore())
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(StoreUnavailable, match="cannot be started"):
            view.get("a")
    assert view.get("a") is None
    view.close()


def test_greenlets_in_place_of_threads_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `gevent.monkey.patch_all()` does: threads are greenlets of one thread."""

    def start(thread: threading.Thread) -> None:
        thread.run()

    view = kvwrap.sync(MemoryStore())
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(UnsupportedOperation, match="greenlets"):
            view.get("a")
    assert view.get("a") is None
    view.close()


def test_a_selector_of_greenlets_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `gevent.monkey.patch_all(thread=False)` does: no other thread can wake such a loop."""

    class GreenSelector(selectors.DefaultSelector): ...

    view = kvwrap.sync(MemoryStore())
    with monkeypatch.context() as patched:
        patched.setattr(selectors, "DefaultSelector", GreenSelector)
        with pytest.raises(UnsupportedOperation, match="greenlets"):
            view.get("a")
    assert view.get("a") is None
    view.close()


def test_a_signal_handler_may_use_the_view_in_the_middle_of_a_call() -> None:
    seen: list[object] = []
    with kvwrap.sync(MemoryStore()) as view:
        view.put("a", 1)

        def handler(*_: object) -> None:
            seen.append(view.get("a"))
            signal.setitimer(signal.ITIMER_REAL, 0.001)

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        try:
            end = time.monotonic() + 30
            while len(seen) < 50 and time.monotonic() < end:
                view.get("a")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    assert len(seen) >= 50
    assert set(seen) == {1}


@pytest.mark.parametrize("kind", STORES)
def test_garbage_collection_of_an_unclosed_view_leaves_no_thread_and_no_error(
    kind: str, tmp_path: Path
) -> None:
    code = f"""
        import gc, sys, threading, time
        path = sys.argv[1]
        store = kvwrap.sync({STORES[kind]})
        store.put("a", 1)
        store.get_or_put("b", lambda: 1)
        it = store.scan()
        assert next(it) == "a"
        del store, it
        end = time.monotonic() + 30
        while threading.active_count() > 1 and time.monotonic() < end:
            gc.collect()
            time.sleep(0.01)
        print([thread.name for thread in threading.enumerate()])
    """
    assert run(f"if True:{code}", str(tmp_path / "file")) == "['MainThread']"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("kind", STORES)
def test_a_forked_child_is_refused_and_harms_nothing(kind: str, tmp_path: Path) -> None:
    code = f"""
        import gc, os, sys
        path = sys.argv[1]
        store = kvwrap.sync({STORES[kind]})
        store.put_many([*map(str, range(300))], [0] * 300)
        it = store.scan()
        next(it)
        if (child := os.fork()) == 0:
            refused = 0
            for call in (
                lambda: store.get("0"), lambda: list(it), lambda: store.get_or_put("x", int),
                lambda: list(store.items()), store.open, lambda: store.put("0", 1),
            ):
                try:
                    call()
                except kvwrap.StoreUnavailable as error:
                    refused += "forked" in str(error)
            store.close()
            try:
                store.get("0")
            except kvwrap.StoreUnavailable as error:
                refused += "forked" in str(error)
            del it, store, call
            gc.collect()
            os._exit(refused)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert len(list(it)) == 299
        store.put("0", store.get_or_put("y", lambda: 5))
        print(store.get("0"))
        store.close()
    """
    assert run(f"if True:{code}", str(tmp_path / "file")) == "5"


def test_a_view_that_was_not_used_before_the_fork_works_in_the_child() -> None:
    code = """
        import os
        store = kvwrap.sync(kvwrap.MemoryStore())
        if (child := os.fork()) == 0:
            store.put("a", 1)
            value = store.get("a")
            store.close()
            os._exit(value)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), store.get("a"))
        store.close()
    """
    assert run(f"if True:{code}") == "1 None"


def test_an_iterator_that_is_closed_early_closes_the_stores() -> None:
    ended = threading.Event()

    class Noted(MemoryStore):
        async def scan(self, **arguments):  # type: ignore[override]
            try:
                for number in range(1000):
                    yield str(number)
            finally:
                ended.set()

    with kvwrap.sync(Noted()) as view:
        scan = view.scan()
        assert next(scan) == "0"
        assert not ended.is_set()
        scan.close()
        assert ended.wait(30)
    gc.collect()


def test_calls_beside_a_close_leave_no_coroutine_unawaited() -> None:
    code = """
        import threading
        from contextlib import suppress
        for _ in range(30):
            store = kvwrap.sync(kvwrap.MemoryStore())
            store.get("a")
            together = threading.Barrier(13)
            def call():
                together.wait()
                for _ in range(20):
                    with suppress(kvwrap.StoreUnavailable):
                        store.get("a")
            threads = [threading.Thread(target=call) for _ in range(12)]
            for thread in threads:
                thread.start()
            together.wait()
            store.close()
            for thread in threads:
                thread.join()
        print("ended")
    """
    assert run(f"if True:{code}") == "ended"
