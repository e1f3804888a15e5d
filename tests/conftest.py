"""Fixtures of the whole suite; those of `kvwrap.testing.plugin` come by its entry point."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from kvwrap.testing import ManualClock, RedisServer

# A busy machine is no fault of the code: examples are not timed. The plain suite tries the same
# ones every time, so that a change is judged by itself; `make soak` goes looking for others.
SOAK = bool(os.environ.get("KVWRAP_SOAK"))
settings.register_profile(
    "kvwrap",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=not SOAK,
    max_examples=1_000 if SOAK else 100,
)
settings.load_profile("kvwrap")


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still until the test moves it."""
    return ManualClock()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A server that tests share, each under names of its own; a missing one fails the test.

    Tests that stop or freeze the server start one of their own (`RedisServer`).
    """
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisServer) -> str:
    """Where the shared server listens."""
    return redis_server.url
