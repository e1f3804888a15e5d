"""Every Python snippet of the README and the documentation runs."""

from __future__ import annotations

import re
import textwrap
import warnings
from pathlib import Path

import pytest

from kvwrap import StackWarning
from kvwrap.testing.servers import (
    EtcdServer,
    LocalServer,
    MemcachedServer,
    MongoDBServer,
    NATSServer,
    OpenSearchServer,
    PostgreSQLServer,
    RedisServer,
    SharedServers,
    ValkeyServer,
)
from tests.integrations.django import project

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SNIPPET = re.compile(r"^( *)```python\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
# The servers of the tests, by the URLs that stand for them on the pages.
SERVERS: dict[str, type[LocalServer]] = {
    "redis://localhost:6379/0": RedisServer,
    "valkey://localhost:6379/0": ValkeyServer,
    "memcached://localhost:11211": MemcachedServer,
    "mongodb://localhost:27017": MongoDBServer,
    "postgresql://app:secret@localhost:5432/shop": PostgreSQLServer,
    "nats://localhost:4222": NATSServer,
    "etcd://localhost:2379": EtcdServer,
    "opensearch://localhost:9200": OpenSearchServer,
}
SECRET = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def snippets() -> list[object]:
    parameters: list[object] = []
    for page in PAGES:
        for number, match in enumerate(SNIPPET.finditer(page.read_text()), 1):
            name = f"{page.relative_to(ROOT)}-{number}"
            parameters.append(pytest.param(textwrap.dedent(match[2]), id=name))
    return parameters


@pytest.mark.parametrize("code", snippets())
def test_snippet_runs(
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    servers: SharedServers,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SESSION_KEYS", f"2026:{SECRET}")
    for written, server in SERVERS.items():
        if written in code:
            code = code.replace(written, servers.url(server))
    if "django" in code:
        project.set_up()
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        # A page recommends no stack with findings, unless it says so and silences them.
        warnings.simplefilter("error", StackWarning)
        exec(compile(code, "<snippet>", "exec", dont_inherit=True), {"__name__": "__main__"})


def test_there_are_snippets() -> None:
    assert len(snippets()) > 10
