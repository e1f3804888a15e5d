"""The page of testing names every server that can be started."""

from __future__ import annotations

from pathlib import Path

from kvwrap.testing import servers
from kvwrap.testing.servers import LocalServer, SharedServers

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


def test_the_first_table_names_every_server() -> None:
    table = PAGE.read_text().partition("## Testing a store")[0]
    others = {LocalServer.__name__, SharedServers.__name__}
    kinds = {name for name in servers.__all__ if hasattr(getattr(servers, name), "url")} - others
    assert {"RedisServer", "RedisCluster"} < kinds
    assert {name for name in kinds if f"`{name}`" not in table} == set()
