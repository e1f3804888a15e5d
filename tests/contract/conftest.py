"""What the contract tests are parametrized with."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvwrap.testing import ManualClock
from tests.catalog import Place


@pytest.fixture
def place(clock: ManualClock, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """Where the stores of one test are made."""

    def redis_url() -> str:
        url: str = request.getfixturevalue("redis_url")
        return url

    return Place(clock, tmp_path, redis_url)
