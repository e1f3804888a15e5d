"""Backends on which the work of other systems is done, bare and under layers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import kvwrap
from kvwrap import Keyring, PostgreSQLStore, RedisStore, SQLiteStore, Store, SyncStore, stack
from kvwrap.testing.servers import PostgreSQLServer, SharedServers
from tests.contract.conftest import resources

__all__ = ["resources"]

KEYRING = Keyring.generate()


@pytest.fixture(params=["sqlite", "redis", "postgresql"])
def make_store(
    request: pytest.FixtureRequest, tmp_path: Path, servers: SharedServers
) -> Callable[[], Store]:
    """A function that returns another store over the same entries."""
    name = f"parity_{uuid.uuid4().hex}"

    def make() -> Store:
        if request.param == "sqlite":
            return SQLiteStore(tmp_path / "store.db")
        if request.param == "redis":
            return RedisStore(request.getfixturevalue("redis_url"), namespace=name)
        return PostgreSQLStore(servers.url(PostgreSQLServer), table=name)

    return make


@pytest.fixture(params=["bare", "layered"])
def make_stack(
    request: pytest.FixtureRequest, make_store: Callable[[], Store]
) -> Callable[[], Store]:
    """A function that returns another stack over the same entries."""
    if request.param == "bare":
        return make_store
    layers = stack().statistics().compress(min_size=1).encrypt(KEYRING)
    return lambda: layers.over(make_store())


@pytest.fixture
def store(make_stack: Callable[[], Store]) -> Iterator[SyncStore]:
    """A blocking view of such a stack."""
    with kvwrap.sync(make_stack()) as view:
        yield view
        view.destroy()
