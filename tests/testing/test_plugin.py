"""The plugin and the contracts, as another package uses them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CORRECT = """
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
import asyncio
from kvwrap import MemoryStore, Passthrough
from kvwrap.testing import LayerContract, StoreContract


class Forgetful(MemoryStore):
    """Forgets when an entry expires."""

    async def write(self, collection, keys, entries, expected=None):
        entries = [entry.with_expiry(None) for entry in entries]
        return await super().write(collection, keys, entries, expected)


class TestForgetful(StoreContract):
    def make_store(self, clock):
        return Forgetful(clock=clock)


class TestBackground(StoreContract):
    """A store whose background tasks fail."""

    def make_store(self, clock):
        return Background(clock=clock)


class Background(MemoryStore):
    async def read(self, collection, keys):
        asyncio.create_task(self.fail())
        await asyncio.sleep(0)
        return await super().read(collection, keys)

    async def fail(self):
        raise LookupError("unseen")


class Shares(Passthrough):
    seen = {}

    async def read(self, collection, keys):
        entries = await self.inner.read(collection, keys)
        for key, entry in zip(keys, entries):
            if entry is not None:
                self.seen[collection, key] = entry
        return [self.seen.get((collection, key)) for key in keys]


class TestShares(LayerContract):
    def make_layers(self, clock):
        return Shares()
'''


def run(folder: Path, text: str) -> str:
    (folder / "test_package.py").write_text(text)
    (folder / "pytest.ini").write_text(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line", "-ra"]
    result = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=100, check=False
    )
    return result.stdout + result.stderr


def test_the_contracts_pass_for_correct_stores_and_layers(tmp_path: Path) -> None:
    output = run(tmp_path, CORRECT)
    assert " passed" in output, output
    assert "failed" not in output, output
    assert "error" not in output, output


def test_the_contracts_find_faults(tmp_path: Path) -> None:
    output = run(tmp_path, FAULTY)
    for test in (
        "TestForgetful::test_every_method_treats_an_expired_entry_as_missing",
        "TestForgetful::test_ttl_counts_down",
        "TestForgetful::test_expire",
        "TestShares::test_one_description_over_two_stores_shares_no_state",
        "TestShares::test_values_pass_through_it",
    ):
        assert f"FAILED test_package.py::{test}" in output, output
    assert "ERROR test_package.py::TestBackground::test_ttl_counts_down" in output, output
    assert "LookupError: unseen" in output, output


def test_names_that_need_pytest_are_imported_on_first_access() -> None:
    code = (
        "import sys, kvwrap.testing as t; t.ManualClock(); print('pytest' in sys.modules);"
        "t.StoreContract; print('pytest' in sys.modules)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert printed == ["False", "True"]


def test_every_public_name_can_be_imported() -> None:
    import kvwrap.testing

    for name in kvwrap.testing.__all__:
        assert getattr(kvwrap.testing, name)
    with pytest.raises(AttributeError, match="NoSuchThing"):
        _ = kvwrap.testing.NoSuchThing
