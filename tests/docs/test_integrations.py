"""The pages of the integrations: what they install, and the order of middleware."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client

from kvwrap import Keyring
from kvwrap.integrations.starlette import ResponseCache, ServerSessions
from kvwrap.testing.servers import RedisServer, SharedServers
from tests.docs.test_snippets import SNIPPET

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "integrations").glob("*.md"))
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def _module_of(requirement: str) -> str:
    name = re.match(r"[\w-]+", requirement)
    assert name is not None
    return name[0].replace("-", "_").lower()


def _installed_by(page: str) -> set[str]:
    """Return the modules of the packages that the page says to install, and what these require."""
    packages = set(re.findall(r"pip install (\w[\w-]*)", page))
    for extras in re.findall(r"pip install \"\.\[([\w,-]+)\]\"", page):
        for extra in extras.split(","):
            packages |= set(EXTRAS[extra])
    modules = {_module_of(each) for each in packages}
    needed = [each for name in modules for each in metadata.requires(name) or ()]
    return modules | {_module_of(each) for each in needed if "extra ==" not in each}


def _imported_by(code: str) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add((node.module or "").partition(".")[0])
    return modules - sys.stdlib_module_names - {"kvwrap"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_tells_how_to_install_what_its_code_imports(path: Path) -> None:
    page = path.read_text()
    imported = set().union(*[_imported_by(match[2]) for match in SNIPPET.finditer(page)])
    assert imported <= _installed_by(page)


def test_the_cache_of_responses_is_inside_of_the_sessions(servers: SharedServers) -> None:
    page = (ROOT / "docs/integrations/starlette.md").read_text()
    (code,) = [match[2] for match in SNIPPET.finditer(page) if "import FastAPI" in match[2]]
    found: dict[str, Any] = {}
    exec(code.replace("redis://localhost:6379/0", servers.url(RedisServer)), found)
    # Starlette's list begins with the outermost.
    assert [each.cls for each in found["app"].user_middleware] == [ServerSessions, ResponseCache]


async def test_the_pages_fastmcp_server_keeps_sessions_and_repeats_only_forecasts(
    servers: SharedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs/integrations/fastmcp.md").read_text()
    code, *_ = [match[2] for match in SNIPPET.finditer(page) if "SessionProvider" in match[2]]
    monkeypatch.setenv("SESSION_KEYS", Keyring.generate("2026").reveal_text())
    found: dict[str, Any] = {}
    exec(code.replace("redis://localhost:6379/0", servers.url(RedisServer)), found)
    async with Client(found["server"]) as client:
        session = (await client.call_tool("create_session")).data
        moves = [
            (await client.call_tool("move", {"city": "Oslo", "session_id": session})).data
            for _ in range(2)
        ]
    assert moves == ["None -> Oslo", "Oslo -> Oslo"]
