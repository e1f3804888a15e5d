"""The store contract over every store as it is."""

from __future__ import annotations

import pytest

from kvwrap import Store
from kvwrap.testing import StoreContract
from tests.catalog import STORES


@pytest.mark.parametrize("backend", STORES, indirect=True)
class TestBare(StoreContract):
    @pytest.fixture
    def store(self, backend: Store) -> Store:
        return backend
