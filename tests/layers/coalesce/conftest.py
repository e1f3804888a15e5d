"""The backend of the tests of Coalesce."""

from __future__ import annotations

import pytest

from tests.layers.coalesce.backend import Backend


@pytest.fixture
def backend() -> Backend:
    return Backend()
