"""Fixtures of the whole suite; those of `kvwrap.testing.plugin` are loaded by its entry point."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from kvwrap.testing import ManualClock, RedisServer

# Examples have no time limit, because a busy machine is not a fault of the code. The plain suite
# uses the same examples every time, so only a change of the code changes its result. `make soak`
# draws new ones.
SOAK = bool(os.environ.get("KVWRAP_SOAK"))
settings.register_profile(
    "kvwrap",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=not SOAK,
    max_examples=1_000 if SOAK else 100,
)
settings.load_profile("kvwrap")


@pytest.fixture(autouse=True)
def every_test_sees_its_tasks(no_task_fails_unseen: None) -> None:
    """Apply a fixture of the plugin to all tests."""


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that moves only when the test moves it."""
    return ManualClock()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Start a server that tests share, each with its own key names; a missing one fails the test.

    Tests that stop or freeze the server start their own one (`RedisServer`).
    """
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisServer) -> str:
    """Return the URL of the shared server."""
    return redis_server.url
