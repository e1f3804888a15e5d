"""Fixtures of the contract tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvwrap.testing import ManualClock
from kvwrap.testing.servers import SharedServers
from tests.catalog import Resources


@pytest.fixture
def resources(clock: ManualClock, tmp_path: Path, servers: SharedServers) -> Resources:
    """Provide what the stores of one test are created with."""
    return Resources(clock, tmp_path, servers.url)
