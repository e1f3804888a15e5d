"""`scripts/servers.py`, without installing anything."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kvwrap.testing.servers import programs as testing
from scripts import servers


def refusing(why: str) -> Callable[[Sequence[str]], None]:
    def way(packages: Sequence[str]) -> None:
        assert packages == ["redis-server"]
        raise servers.SetupError(why)

    way.__name__ = f"way-{why}"
    return way


@pytest.fixture
def nothing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "works", lambda name: False)
    monkeypatch.setattr(servers, "install", refusing("no root"))
    monkeypatch.setattr(servers, "unpack", refusing("no network"))


def test_what_is_there_is_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(servers, "install", refusing("never asked"))
    monkeypatch.setattr(servers, "unpack", refusing("never asked"))
    assert servers.main([]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("nothing_works")
def test_a_missing_server_is_a_failure_that_names_the_way_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert servers.main([]) == 1
    told = capsys.readouterr().err
    for words in ("redis-server", "no root", "no network", "apt-get install redis-server", "PATH"):
        assert words in told


@pytest.mark.usefixtures("nothing_works")
def test_an_optional_server_may_be_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert servers.main(["--optional"]) == 0
    assert "embedded stores" in capsys.readouterr().err


def test_the_second_way_is_tried_when_the_first_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked: list[str] = []
    monkeypatch.setattr(servers, "works", lambda name: bool(unpacked))
    monkeypatch.setattr(servers, "install", refusing("no root"))
    monkeypatch.setattr(servers, "unpack", unpacked.extend)
    assert servers.main([]) == 0
    assert unpacked == ["redis-server"]


def test_a_command_that_fails_is_told_with_its_last_words() -> None:
    assert servers.run("echo", "words") == "words\n"
    with pytest.raises(servers.SetupError, match="apt-get-not-there"):
        servers.run("apt-get-not-there")
    with pytest.raises(servers.SetupError, match="last words"):
        servers.run("sh", "-c", "echo last words >&2; exit 3")


def test_an_unpacked_server_is_found_with_its_libraries(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(testing, "UNPACKED", tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    assert testing.find_server("redis-server") is None
    program = tmp_path / "usr" / "bin" / "redis-server"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    library = tmp_path / "usr" / "lib" / "here" / "liblzf.so.1"
    library.parent.mkdir(parents=True)
    library.touch()
    assert testing.find_server("redis-server") == program
    assert testing.environment_of(program)["LD_LIBRARY_PATH"] == str(library.parent)
    assert testing.environment_of(Path("/usr/bin/redis-server")) is os.environ
