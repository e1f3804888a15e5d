"""A pytest plugin with fixtures for tests of code that uses kvwrap; registered as an entry point.

kvwrap is imported only when a fixture is used.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kvwrap import MemoryStore
    from kvwrap.testing import ManualClock

pytest.register_assert_rewrite("kvwrap.testing.contract")


@pytest.fixture
def manual_clock() -> ManualClock:
    """Provide a clock that moves only when the test moves it."""
    from kvwrap.testing.clock import ManualClock

    return ManualClock()


@pytest.fixture
def memory_store(manual_clock: ManualClock) -> MemoryStore:
    """Provide an empty in-memory store that uses `manual_clock`."""
    from kvwrap import MemoryStore

    return MemoryStore(clock=manual_clock)


@pytest.fixture
def no_task_fails_unseen(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail the test if a task of asyncio failed and nothing awaited it.

    asyncio only logs the exception of such a task, when the task is freed. The contract suites
    use this fixture in every test.
    """
    yield
    records = [
        record
        for phase in ("setup", "call", "teardown")
        for record in caplog.get_records(phase)
        if record.name == "asyncio" and record.levelno >= logging.ERROR
    ]
    if records:
        text = logging.Formatter()
        pytest.fail("\n\n".join(text.format(record) for record in records), pytrace=False)
