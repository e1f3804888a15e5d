from __future__ import annotations

import pytest

from kvwrap import Keyring


@pytest.fixture
def keys(monkeypatch):
    monkeypatch.setenv("TEST_KEYS", Keyring.generate("k1").reveal_text())
