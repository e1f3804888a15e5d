"""What the contract tests are parametrized with."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvwrap.testing import ManualClock, RedisServer
from tests.catalog import Place


@pytest.fixture
def place(clock: ManualClock, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """Where the stores of one test are made."""

    def redis_url() -> str:
        server: RedisServer = request.getfixturevalue("redis_server")
        server.flush()
        return server.url

    return Place(clock, tmp_path, redis_url)
