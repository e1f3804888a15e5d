"""Databases of a project, for the tests of Django."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections

from kvwrap.core.clock import SystemClock
from kvwrap.testing.servers import PostgreSQLServer, SharedServers
from tests.integrations.django import project


@pytest.fixture(params=["django on sqlite", "django on postgresql"])
def alias(request: pytest.FixtureRequest, tmp_path: Path, servers: SharedServers) -> Iterator[str]:
    """The alias of a database of the project, with the table of entries."""
    name = f"t{uuid.uuid4().hex}"
    if request.param == "django on sqlite":
        database = project.sqlite(tmp_path / "django.db")
    else:
        database = project.postgresql(servers.url(PostgreSQLServer), name)
    project.orm_store(name, database, SystemClock())
    yield name
    with connections[name].cursor() as cursor:
        if request.param == "django on postgresql":
            cursor.execute(f'DROP SCHEMA "{name}" CASCADE')
    connections[name].close()
