"""`compose.yaml` has a service for every server, on loopback, and the page says its variable."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from kvwrap.testing import servers
from kvwrap.testing.servers import LocalServer
from kvwrap.testing.servers.group import ServerGroup

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text())[
    "services"
]
EXPORTS = dict(service["labels"]["kvwrap.export"].split("=", 1) for service in SERVICES.values())


def single_servers() -> list[type[LocalServer]]:
    """Return the classes of single servers that tests share: they are made without arguments."""
    exported = [getattr(servers, name) for name in servers.__all__]
    return [
        kind
        for kind in exported
        if isinstance(kind, type)
        and issubclass(kind, LocalServer)
        and not issubclass(kind, ServerGroup)
        and kind is not LocalServer
        and not any(
            parameter.default is parameter.empty
            and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
            for parameter in inspect.signature(kind).parameters.values()
        )
    ]


def test_every_server_has_a_service_and_a_variable() -> None:
    assert {kind.url_variable() for kind in single_servers()} == set(EXPORTS)


@pytest.mark.parametrize("kind", single_servers(), ids=lambda kind: kind.__name__)
def test_its_url_is_like_that_of_a_server_of_the_tests(
    kind: type[LocalServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers.base, "require_server", lambda name: Path(name))
    server = kind()
    url = urlsplit(EXPORTS[kind.url_variable()])
    server.port = url.port or 0
    assert server.url == url.geturl()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_one_port_on_loopback_which_its_url_names(name: str) -> None:
    (port,) = SERVICES[name]["ports"]
    address, outside, inside = port.split(":")
    assert address == "127.0.0.1"
    assert inside.isdigit()
    assert f"//127.0.0.1:{outside}" in SERVICES[name]["labels"]["kvwrap.export"].replace(
        "kvwrap@", ""
    )


def test_ports_are_not_shared() -> None:
    ports = [service["ports"][0].split(":")[1] for service in SERVICES.values()]
    assert len(set(ports)) == len(ports)


def test_the_page_lists_the_variables() -> None:
    page = (ROOT / "docs" / "testing.md").read_text()
    listed = dict(re.findall(r"^export (KVWRAP_\w+_URL)=(\S+)$", page, re.MULTILINE))
    assert listed == EXPORTS
