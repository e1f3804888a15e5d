"""`DjangoStore` on a server that is away, or permits little."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest
from django.db import connections

import kvwrap
from kvwrap import AccessDenied, StoreFull, StoreTimeout, StoreUnavailable, stack
from kvwrap.core.clock import SystemClock
from kvwrap.integrations.django import DjangoStore
from kvwrap.testing.servers import PostgreSQLServer, SharedServers
from tests.disks import filled
from tests.integrations.django import project
from tests.integrations.django.project import refusal


def test_a_server_that_is_away_and_comes_back() -> None:
    with PostgreSQLServer() as server:
        name = f"t{uuid.uuid4().hex}"
        store = project.orm_store(name, project.postgresql(server.url, name), SystemClock())
        with kvwrap.sync(store) as view:
            view.put("a", 1)
            server.kill()
            for _ in range(2):
                with pytest.raises(StoreUnavailable) as raised:
                    view.get("a")
                assert raised.value.key == "a"
            server.start()
            assert view.get("a") == 1


async def test_a_server_that_hangs_and_comes_back() -> None:
    with PostgreSQLServer() as server:
        name = f"t{uuid.uuid4().hex}"
        on_server = project.orm_store(name, project.postgresql(server.url, name), SystemClock())
        async with stack().timeout(1).over(on_server) as store:
            for attempt in range(30):  # on a busy machine a second may be too short
                try:
                    await store.put("a", 1)
                    break
                except StoreTimeout:
                    assert attempt < 29
            server.freeze()
            try:
                for _ in range(2):
                    async with asyncio.timeout(60):
                        with pytest.raises(StoreTimeout):
                            await store.get("a")
            finally:
                server.thaw()
            assert await on_server.get("a") == 1


def test_a_full_disk(disk: Path) -> None:
    store = project.orm_store(f"t{uuid.uuid4().hex}", project.sqlite(disk / "d.db"), SystemClock())
    with kvwrap.sync(store) as view:
        view.put("a", "x" * 20_000)
        with filled(disk):
            with pytest.raises(StoreFull) as raised:
                view.put("b", "x" * 2_000_000)
            assert raised.value.key == "b"
            with pytest.raises(StoreFull):  # SQLite needs room to delete, too
                view.delete("a")
            assert view.get("a") == "x" * 20_000
        view.put("b", "x" * 2_000_000)
        assert view.keys() == ["a", "b"]
        assert view.delete("a")


def test_a_user_without_rights(servers: SharedServers) -> None:
    name = f"t{uuid.uuid4().hex}"
    url = servers.url(PostgreSQLServer)
    project.orm_store(name, project.postgresql(url, name), SystemClock())
    settings = project.postgresql(url, name)
    settings["OPTIONS"] = {"options": f"-c search_path={name} -c default_transaction_read_only=on"}
    connections.settings[f"{name} ro"] = settings
    assert isinstance(refusal(DjangoStore(f"{name} ro")), AccessDenied)
