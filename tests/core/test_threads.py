"""Threads for calls that block: no pool that fills, nothing that the program's end waits for."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from kvwrap.core.threads import (
    Answer,
    BoundedThreads,
    GivenUp,
    SingleThread,
    ThreadPerCall,
    compute_in_thread,
    run_in_thread,
)


def named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


async def test_any_number_of_calls_block_at_the_same_time() -> None:
    together = threading.Barrier(100)
    calls = (run_in_thread(together.wait, 10) for _ in range(100))
    assert sorted(await asyncio.gather(*calls)) == list(range(100))


async def test_a_call_sees_the_callers_context_and_returns_or_raises() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("mine")
    assert await run_in_thread(variable.get) == "mine"
    assert await run_in_thread(int, "11", base=2) == 3
    with pytest.raises(ZeroDivisionError):
        await run_in_thread(lambda: 1 / 0)


async def test_an_error_that_no_future_takes_reaches_the_caller() -> None:
    async with asyncio.timeout(30):
        with pytest.raises(RuntimeError, match="StopIteration") as caught:
            await run_in_thread(next, iter(()))
    assert isinstance(caught.value.__cause__, StopIteration)


async def test_a_loop_that_ends_does_not_wait_for_its_threads() -> None:
    go = threading.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPerCall())
    blocked = loop.run_in_executor(None, go.wait)
    async with asyncio.timeout(30):
        await loop.shutdown_default_executor()
    go.set()
    assert await blocked


def test_a_single_thread_runs_calls_in_order_and_ends() -> None:
    executor = SingleThread("kvwrap-test-single")
    order: list[int] = []
    futures = [executor.submit(order.append, number) for number in range(100)]
    (thread,) = named("kvwrap-test-single")
    executor.shutdown()
    executor.shutdown()
    assert order == list(range(100))
    assert all(future.done() for future in futures)
    assert not thread.is_alive()
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.submit(int)


def test_a_cancelled_call_does_not_start() -> None:
    executor, go = SingleThread("kvwrap-test-cancelled"), threading.Event()
    executor.submit(go.wait)
    ran: list[int] = []
    assert executor.submit(ran.append, 1).cancel()
    go.set()
    executor.shutdown()
    assert ran == []


def test_the_thread_of_a_garbage_collected_executor_ends() -> None:
    executor = SingleThread("kvwrap-test-garbage")
    executor.submit(int).result(30)
    (thread,) = named("kvwrap-test-garbage")
    del executor
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_which_has_no_such_thread_is_told() -> None:
    code = """if True:
        import os
        from kvwrap.core.threads import SingleThread
        from kvwrap.errors import StoreUnavailable
        executor = SingleThread("single")
        executor.submit(int).result()
        if (child := os.fork()) == 0:
            executor.shutdown()
            try:
                executor.submit(int)
            except StoreUnavailable as error:
                os._exit(0 if "forked" in str(error) else 1)
            os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert executor.submit(int).result() == 0
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_a_program_ends_although_calls_block() -> None:
    code = """if True:
        import asyncio, time
        from kvwrap.core.threads import SingleThread, run_in_thread
        SingleThread("single").submit(time.sleep, 30)
        async def main():
            asyncio.create_task(run_in_thread(time.sleep, 30))
            await asyncio.sleep(0.1)
        asyncio.run(main())
    """
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
    assert time.monotonic() - begun < 20


def test_calls_are_taken_after_the_main_thread_has_ended() -> None:
    code = """if True:
        import asyncio, atexit, threading
        from kvwrap.core.threads import SingleThread, run_in_thread
        single = SingleThread("single")
        def work(name):
            assert single.submit(int).result() == 0
            print(name, asyncio.run(run_in_thread(int)))
        def later():
            threading.main_thread().join()
            work("thread")
        threading.Thread(target=later).start()
        atexit.register(work, "atexit")
    """
    done = subprocess.run(
        [sys.executable, "-c", code], timeout=30, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["thread", "0", "atexit", "0"]


async def test_a_computation_returns_or_raises_in_another_thread() -> None:
    assert await compute_in_thread(int, "11", base=2) == 3
    assert await compute_in_thread(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await compute_in_thread(lambda: 1 / 0)


def test_bounded_threads_run_so_many_calls_at_once_in_order_and_end() -> None:
    before = named("kvwrap-compute")  # of tests before, about to end
    executor, both, go = BoundedThreads(2), threading.Barrier(3), threading.Event()
    for _ in range(2):
        executor.submit(lambda: (both.wait(30), go.wait(30)))
    both.wait(30)
    started: list[int] = []
    waiting = [executor.submit(started.append, number) for number in range(20)]
    threads = [thread for thread in named("kvwrap-compute") if thread not in before]
    assert len(threads) == 2
    assert waiting[3].cancel()
    assert started == []
    go.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert sorted(started) == [number for number in range(20) if number != 3]
    assert executor.submit(int).result(30) == 0


def test_one_bounded_thread_keeps_the_order() -> None:
    executor, order = BoundedThreads(1), list[int]()
    for future in [executor.submit(order.append, number) for number in range(100)]:
        future.result(30)
    executor.shutdown()
    assert order == list(range(100))


async def test_a_cancelled_caller_of_a_computation_stops_waiting() -> None:
    begun, go = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(30)

    task = asyncio.create_task(compute_in_thread(work))
    await run_in_thread(begun.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_computes_in_threads_of_its_own() -> None:
    code = """if True:
        import os, threading
        from kvwrap.core.threads import BoundedThreads
        executor, begun, go = BoundedThreads(1), threading.Event(), threading.Event()
        executor.submit(lambda: (begun.set(), go.wait(30)))
        waiting = executor.submit(print, "once")
        begun.wait(30)
        if (child := os.fork()) == 0:
            os._exit(executor.submit(int, 7).result(20))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        go.set()
        waiting.result(20)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True
    )
    assert done.stdout == "once\n"


async def test_a_single_thread_answers_a_task_with_a_result_or_an_error() -> None:
    executor = SingleThread("answers")
    assert await executor.run(threading.current_thread, int) in named("answers")
    with pytest.raises(ZeroDivisionError):
        await executor.run(lambda: 1 / 0, int)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await executor.run(lambda: next(iter(())), int)
    order: list[int] = []
    await asyncio.gather(*(executor.run(partial(order.append, n), int) for n in range(50)))
    assert order == list(range(50))
    executor.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        await executor.run(int, int)


async def test_a_call_that_nobody_waits_for_runs_in_its_turn() -> None:
    executor = SingleThread("posts")
    order: list[int] = []
    for number in range(20):
        executor.post(partial(order.append, number))
    await executor.run(int, int)
    assert order == list(range(20))
    executor.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.post(int)


async def test_a_call_that_was_given_up_does_not_start() -> None:
    given_up, started = Answer(), Answer()
    assert given_up.give_up()
    assert not given_up.set_running_or_notify_cancel()
    with pytest.raises(GivenUp):
        await given_up.future
    assert started.set_running_or_notify_cancel()
    assert not started.give_up()
    started.set_result(1)
    assert await started.future == 1


async def test_a_cancelled_task_of_a_single_thread_ends_with_its_call_or_before_it() -> None:
    executor = SingleThread("cancelled")
    begun, go = threading.Event(), threading.Event()
    called: list[str] = []

    def work() -> None:
        begun.set()
        go.wait(30)
        called.append("first")

    first = asyncio.create_task(executor.run(work, lambda: called.append("cancelled")))
    second = asyncio.create_task(executor.run(lambda: called.append("second"), int))
    await asyncio.to_thread(begun.wait, 30)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second  # at once, although the first call is in progress
    first.cancel()
    for _ in range(5):  # further ones do not end it earlier
        await asyncio.sleep(0)
        first.cancel()
    assert not first.done()
    assert called == ["cancelled"]
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await executor.run(lambda: "third", int) == "third"
    assert called == ["cancelled", "first"]
    executor.shutdown()


async def test_no_cancellation_at_any_moment_leaves_a_task_waiting() -> None:
    executor = SingleThread("moments")
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(60):
        for turns in [*range(8)] * 20:
            task = asyncio.create_task(executor.run(partial(divmod, 1, turns % 2), int))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            # The answer comes in the same turn as the cancellation.
            blocked, answered = threading.Event(), threading.Event()
            task = asyncio.create_task(executor.run(partial(blocked.wait, 30), int))
            await asyncio.sleep(0)
            blocked.set()
            executor.submit(answered.set)
            answered.wait(30)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert not loop.is_closed()
    executor.shutdown()
