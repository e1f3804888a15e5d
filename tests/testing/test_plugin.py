"""The plugin and the contracts as a package of somebody else's uses them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

THEIRS = """
import pytest
from kvwrap import MemoryStore, Passthrough
from kvwrap.testing import LayerContract, StoreContract


class TestStore(StoreContract):
    def make_store(self, clock):
        return MemoryStore(clock=clock)


class TestAsync(StoreContract):
    async def make_store(self, clock):
        return MemoryStore(clock=clock)


class TestLayer(LayerContract):
    def make_layers(self, clock):
        return Passthrough()


@pytest.mark.asyncio
async def test_fixtures(memory_store, manual_clock):
    await memory_store.put("key", 1, ttl=10)
    manual_clock.advance(11)
    assert await memory_store.get("key") is None
"""

FAULTY = '''
from kvwrap import MemoryStore, Passthrough
from kvwrap.testing import LayerContract, StoreContract


class Forgetful(MemoryStore):
    """Does not know when an entry expires, and drops every write of None."""

    async def write(self, collection, keys, entries, expected=None):
        entries = [entry.with_expiry(None) for entry in entries]
        return await super().write(collection, keys, entries, expected)


class TestForgetful(StoreContract):
    def make_store(self, clock):
        return Forgetful(clock=clock)


class Shares(Passthrough):
    seen = {}

    async def read(self, collection, keys):
        found = await self.inner.read(collection, keys)
        for key, entry in zip(keys, found):
            if entry is not None:
                self.seen[collection, key] = entry
        return [self.seen.get((collection, key)) for key in keys]


class TestShares(LayerContract):
    def make_layers(self, clock):
        return Shares()
'''


def run(folder: Path, text: str) -> str:
    (folder / "test_theirs.py").write_text(text)
    (folder / "pytest.ini").write_text(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line", "-ra"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=100, check=False
    )
    return done.stdout + done.stderr


def test_the_contracts_hold_for_whom_they_should(tmp_path: Path) -> None:
    words = run(tmp_path, THEIRS)
    assert " passed" in words, words
    assert "failed" not in words, words
    assert "error" not in words, words


def test_the_contracts_find_faults(tmp_path: Path) -> None:
    words = run(tmp_path, FAULTY)
    for test in (
        "TestForgetful::test_an_expired_value_is_gone_for_every_method",
        "TestForgetful::test_ttl_counts_down",
        "TestForgetful::test_expire",
        "TestShares::test_one_description_over_two_stores_shares_nothing",
        "TestShares::test_values_go_through_it",
    ):
        assert f"FAILED test_theirs.py::{test}" in words, words


def test_what_needs_pytest_is_loaded_when_it_is_asked_for() -> None:
    code = (
        "import sys, kvwrap.testing as t; t.ManualClock(); print('pytest' in sys.modules);"
        "t.StoreContract; print('pytest' in sys.modules)"
    )
    words = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert words == ["False", "True"]


def test_everything_public_is_there() -> None:
    import kvwrap.testing

    for name in kvwrap.testing.__all__:
        assert getattr(kvwrap.testing, name)
    with pytest.raises(AttributeError, match="NoSuchThing"):
        _ = kvwrap.testing.NoSuchThing
