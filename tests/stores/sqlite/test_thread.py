"""The thread of a connection."""

from __future__ import annotations

import asyncio
import weakref

import pytest

from kvwrap.core.threads import SingleThread
from kvwrap.stores.sqlite.calls import Call, Calls
from kvwrap.stores.sqlite.thread import ConnectionThread


class Entries(list[bytes]):
    """What a call returns, of which a test sees whether it is still in memory."""


async def test_what_a_call_returned_is_not_kept_while_the_thread_waits() -> None:
    thread = ConnectionThread("a test", timeout=5)
    kept: list[weakref.ref[Entries]] = []

    def read() -> Entries:
        entries = Entries([b"x"])
        kept.append(weakref.ref(entries))
        return entries

    try:
        assert await thread.run(read) == [b"x"]
        async with asyncio.timeout(30):
            while kept[0]() is not None:  # the thread ends its work after it has answered
                await asyncio.sleep(0.001)
    finally:
        await thread.close(lambda: None)


async def test_a_call_for_which_no_thread_can_be_started_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thread = ConnectionThread("a test", timeout=5)
    called: list[int] = []

    def fail(self: SingleThread, *arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    try:
        with monkeypatch.context() as patch:
            patch.setattr(SingleThread, "submit", fail)
            for number in range(2):
                with pytest.raises(RuntimeError, match="new thread"):
                    await thread.run(called.append, number)
        await thread.run(called.append, 2)
    finally:
        await thread.close(lambda: None)
    assert called == [2]


@pytest.mark.parametrize("passes_by", ["first", "take"])
async def test_a_call_that_was_cancelled_before_it_waits_again_has_ended(passes_by: str) -> None:
    """The one who gave it up waits for that."""
    calls = Calls("a test", lambda: None, lambda: None)
    call = Call(list, (), True, asyncio.get_running_loop().create_future())
    call.is_cancelled = True
    calls.put_back([call])  # another one of its transaction has failed
    assert not (calls.first() if passes_by == "first" else calls.take(1))
    assert call.has_ended
    await calls.close(lambda: None)
