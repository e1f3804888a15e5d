"""`python -m scripts.servers`, without installing anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kvwrap.testing import servers as testing
from kvwrap.testing.servers import LocalServer
from scripts.servers import __main__ as script
from scripts.servers import packages
from scripts.servers.builds import Build
from scripts.servers.commands import SetupError, require, run
from scripts.servers.packages import Package
from scripts.servers.table import SERVERS, Server


@dataclass(frozen=True)
class Made(Build):
    """Makes a program that prints its version, or cannot."""

    is_slow: bool = False
    reason: str = ""
    built: list[str] = field(default_factory=list, hash=False)

    def build(self, folder: Path) -> None:
        if self.reason:
            raise SetupError(self.reason)
        self.built.append(self.program)
        self.write_launcher(folder, "echo", "")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use a cache of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return testing.server_cache()


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> list[Server]:
    """Replace the table of servers."""
    replaced: list[Server] = []
    monkeypatch.setattr(script, "SERVERS", replaced)
    return replaced


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Let every installation of packages fail. Returns what was asked for."""
    asked: list[tuple[str, list[str]]] = []
    for method, reason in (("install", "no root"), ("unpack", "no network")):

        def fail(names: list[str], method: str = method, reason: str = reason) -> None:
            asked.append((method, names))
            raise SetupError(reason)

        fail.__name__ = method
        monkeypatch.setattr(packages, method, fail)
    return asked


def test_an_installed_server_is_used(
    table: list[Server], asked: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    table.append(Server("shell", "true", Package("coreutils")))
    assert script.main([]) == 0
    assert capsys.readouterr() == ("", "")
    assert asked == []


def test_packages_are_installed_together_or_else_unpacked(
    table: list[Server], asked: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    table += [Server(name, f"no-such-{name}", Package(f"{name}-package")) for name in "ab"]
    assert script.main([]) == 1
    assert asked == [(name, ["a-package", "b-package"]) for name in ("install", "unpack")]
    message = capsys.readouterr().err
    for words in ("no root", "no network", "apt-get install b-package", "no-such-a", "PATH"):
        assert words in message


def test_the_second_method_is_tried_only_for_what_is_still_missing(
    table: list[Server],
    asked: list[tuple[str, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    table += [Server(name, f"program-{name}", Package(f"{name}-package")) for name in "ab"]
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def install(names: list[str]) -> None:
        (tmp_path / "program-a").write_text("#!/bin/sh\n")
        (tmp_path / "program-a").chmod(0o755)

    monkeypatch.setattr(packages, "install", install)
    assert script.main(["--optional"]) == 0
    assert asked == [("unpack", ["b-package"])]


def test_what_is_not_packaged_is_built_once(
    table: list[Server], capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    source = Made("made-program", "2.0")
    table.append(Server("made", "made-program", source))
    assert script.main([]) == 0
    assert testing.find_server("made-program") == cache / "made-program/2.0/bin/made-program"
    assert "installed made in" in capsys.readouterr().out
    assert script.main([]) == 0
    assert source.built == ["made-program"]


def test_a_version_that_is_too_old_is_replaced(table: list[Server]) -> None:
    Made("made-program", "2.0").install()
    assert Server("made", "made-program", Package("made"), version="2").is_installed()
    newer = Made("made-program", "10.1")
    table.append(Server("made", "made-program", newer, version="2.1"))
    assert script.main([]) == 0
    assert newer.built == ["made-program"]
    assert "/10.1/" in str(testing.find_server("made-program"))


def test_what_takes_minutes_is_left_out_of_a_quick_run(
    table: list[Server], capsys: pytest.CaptureFixture[str]
) -> None:
    source = Made("made-program", "2.0", is_slow=True)
    table.append(Server("made", "made-program", source))
    assert script.main(["--quick", "--optional"]) == 0
    assert source.built == []
    assert "made is not installed: it takes minutes to compile; `make servers`" in (
        capsys.readouterr().err
    )
    assert script.main(["--quick"]) == 1
    assert script.main([]) == 0
    assert source.built == ["made-program"]


@pytest.mark.parametrize("reason", ["tool is missing: install it", ""])
def test_a_server_that_cannot_be_built_fails_unless_it_is_optional(
    table: list[Server], capsys: pytest.CaptureFixture[str], reason: str, cache: Path
) -> None:
    source = Made("made-program", "2.0", reason=reason)
    table.append(Server("made", "made-program", source, version="3"))
    assert script.main([]) == 1
    message = capsys.readouterr().err
    assert (reason or "was built, but does not run") in message
    assert "made-program" in message
    assert script.main(["--optional"]) == 0
    assert not list(cache.glob(".building-*"))


def test_servers_are_chosen_by_name(
    table: list[Server], capsys: pytest.CaptureFixture[str]
) -> None:
    sources = {name: Made(f"program-{name}", "1") for name in ("one", "two")}
    table += [Server(name, source.program, source) for name, source in sources.items()]
    assert script.main(["two"]) == 0
    assert [len(source.built) for source in sources.values()] == [0, 1]
    with pytest.raises(SystemExit):
        script.main(["three"])
    assert "no such server: three; there are one, two" in capsys.readouterr().err


def test_every_server_class_has_a_row() -> None:
    exported = [getattr(testing, name) for name in testing.__all__]
    classes = [
        kind for kind in exported if isinstance(kind, type) and issubclass(kind, LocalServer)
    ]
    programs = {kind.program_name for kind in classes if kind is not LocalServer}
    assert programs <= {server.program for server in SERVERS}
    assert len({server.name for server in SERVERS}) == len(SERVERS)


def test_a_failed_command_is_reported_with_its_last_lines() -> None:
    assert run("echo", "text") == "text\n"
    with pytest.raises(SetupError, match="apt-get-not-there"):
        run("apt-get-not-there")
    with pytest.raises(SetupError, match="last line"):
        run("sh", "-c", "echo last line >&2; exit 3")


def test_a_missing_tool_is_named_with_advice() -> None:
    assert require("sh", "unused").endswith("/sh")
    with pytest.raises(SetupError, match="no-such-tool is missing: install a tool"):
        require("no-such-tool", "install a tool")
