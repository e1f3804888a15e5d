"""`DjangoStore` on a server that is away, or permits little."""

from __future__ import annotations

import uuid

import pytest
from django.db import connections

import kvwrap
from kvwrap import AccessDenied, StoreUnavailable
from kvwrap.core.clock import SystemClock
from kvwrap.integrations.django import DjangoStore
from kvwrap.testing.servers import PostgreSQLServer, SharedServers
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


def test_a_user_without_rights(servers: SharedServers) -> None:
    name = f"t{uuid.uuid4().hex}"
    url = servers.url(PostgreSQLServer)
    project.orm_store(name, project.postgresql(url, name), SystemClock())
    settings = project.postgresql(url, name)
    settings["OPTIONS"] = {"options": f"-c search_path={name} -c default_transaction_read_only=on"}
    connections.settings[f"{name} ro"] = settings
    assert isinstance(refusal(DjangoStore(f"{name} ro")), AccessDenied)
