"""A far store for the tests of the read-through cache."""

from __future__ import annotations

import pytest

from kvwrap.testing import ManualClock
from tests.layers.read_through.stores import Far


@pytest.fixture
def far(clock: ManualClock) -> Far:
    return Far(clock)
