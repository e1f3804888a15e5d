"""`scripts/servers.py`, without installing anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from scripts import servers


def failing(reason: str) -> Callable[[Sequence[str]], None]:
    def method(packages: Sequence[str]) -> None:
        assert packages == ["redis-server"]
        raise servers.SetupError(reason)

    method.__name__ = f"method-{reason}"
    return method


@pytest.fixture
def nothing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "works", lambda name: False)
    monkeypatch.setattr(servers, "install", failing("no root"))
    monkeypatch.setattr(servers, "unpack", failing("no network"))


def test_an_installed_server_is_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(servers, "install", failing("never called"))
    monkeypatch.setattr(servers, "unpack", failing("never called"))
    assert servers.main([]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("nothing_works")
def test_a_missing_server_fails_and_the_message_says_how_to_install_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert servers.main([]) == 1
    message = capsys.readouterr().err
    for words in ("redis-server", "no root", "no network", "apt-get install redis-server", "PATH"):
        assert words in message


@pytest.mark.usefixtures("nothing_works")
def test_an_optional_server_may_be_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert servers.main(["--optional"]) == 0
    assert "embedded stores" in capsys.readouterr().err


def test_the_second_method_is_tried_when_the_first_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked: list[str] = []
    monkeypatch.setattr(servers, "works", lambda name: bool(unpacked))
    monkeypatch.setattr(servers, "install", failing("no root"))
    monkeypatch.setattr(servers, "unpack", unpacked.extend)
    assert servers.main([]) == 0
    assert unpacked == ["redis-server"]


def test_a_failed_command_is_reported_with_its_last_lines() -> None:
    assert servers.run("echo", "text") == "text\n"
    with pytest.raises(servers.SetupError, match="apt-get-not-there"):
        servers.run("apt-get-not-there")
    with pytest.raises(servers.SetupError, match="last line"):
        servers.run("sh", "-c", "echo last line >&2; exit 3")
