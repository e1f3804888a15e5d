"""Fixtures of the whole suite; those of `kvwrap.testing.plugin` are loaded by its entry point."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from kvwrap import ConfigurationError
from kvwrap.testing import ManualClock, RedisServer
from kvwrap.testing.servers.shared import ServerT, SharedServers

# Examples have no time limit, because a busy machine is not a fault of the code. The plain suite
# uses the same examples every time, so only a change of the code changes its result. `make soak`
# draws new ones.
SOAK = bool(os.environ.get("KVWRAP_SOAK"))
REQUIRED = bool(os.environ.get("KVWRAP_REQUIRE_SERVERS"))
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


class Servers(SharedServers):
    """The servers of a test process. A test of a missing one is skipped, or fails in CI."""

    def get(self, kind: type[ServerT]) -> ServerT:
        try:
            return super().get(kind)
        except ConfigurationError as error:
            if REQUIRED:
                raise
            # Of the whole test: the reason names the server and says how to install it.
            pytest.skip(str(error))


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Provide the servers that tests share, each with names of its own.

    Tests that stop or freeze a server start their own one.
    """
    with Servers() as servers:
        yield servers


@pytest.fixture(scope="session")
def redis_url(servers: Servers) -> str:
    """Return the URL of the shared Redis server."""
    return servers.url(RedisServer)
