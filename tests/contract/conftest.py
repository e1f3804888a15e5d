"""Fixtures of the contract tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvwrap.testing import ManualClock, RedisServer
from tests.catalog import Resources


@pytest.fixture
def resources(clock: ManualClock, tmp_path: Path, request: pytest.FixtureRequest) -> Resources:
    """Provide what the stores of one test are created with."""

    def redis_url() -> str:
        server: RedisServer = request.getfixturevalue("redis_server")
        server.flush()
        return server.url

    return Resources(clock, tmp_path, redis_url)
