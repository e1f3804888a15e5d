from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvwrap.testing.servers import programs


def test_an_unpacked_server_is_found_with_its_libraries(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(programs, "UNPACKED", tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    assert programs.find_server("redis-server") is None
    program = tmp_path / "usr" / "bin" / "redis-server"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    library = tmp_path / "usr" / "lib" / "here" / "liblzf.so.1"
    library.parent.mkdir(parents=True)
    library.touch()
    assert programs.find_server("redis-server") == program
    assert programs.environment_of(program)["LD_LIBRARY_PATH"] == str(library.parent)
    assert programs.environment_of(Path("/usr/bin/redis-server")) is os.environ


def test_a_program_on_the_path_is_preferred(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unpacked, installed = tmp_path / "unpacked", tmp_path / "installed"
    for folder in (unpacked / "usr" / "bin", installed):
        folder.mkdir(parents=True)
        (folder / "redis-server").write_text("#!/bin/sh\n")
        (folder / "redis-server").chmod(0o755)
    monkeypatch.setattr(programs, "UNPACKED", unpacked)
    monkeypatch.setenv("PATH", str(installed))
    assert programs.find_server("redis-server") == installed / "redis-server"


def test_folders_that_distributions_leave_out_of_the_path_are_searched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(programs, "UNPACKED", tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    for folder in ("usr/sbin", "usr/lib/postgresql/9/bin", "usr/lib/postgresql/16/bin"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a-program").write_text("#!/bin/sh\n")
        (tmp_path / folder / "a-program").chmod(0o755)
    assert programs.find_server("a-program") == tmp_path / "usr/sbin/a-program"
    (tmp_path / "usr/sbin/a-program").unlink()
    assert programs.find_server("a-program") == tmp_path / "usr/lib/postgresql/16/bin/a-program"


def test_the_cache_goes_before_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    built = tmp_path / "cache/kvwrap/servers/a-server/2.15.2/bin"
    for folder in (built, installed):
        folder.mkdir(parents=True)
        (folder / "a-program").write_text("#!/bin/sh\n")
        (folder / "a-program").chmod(0o755)
    monkeypatch.setenv("PATH", str(installed))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert programs.find_server("a-program") == built / "a-program"
    # A relative path is no path of a cache, says its specification.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert programs.find_server("a-program") == installed / "a-program"


def test_a_missing_program_is_named_with_the_way_to_install_it() -> None:
    with pytest.raises(programs.MissingServerError, match=r"no-such must be.*`make servers`"):
        programs.require_server("no-such")


def test_versions_are_compared_by_their_numbers() -> None:
    assert programs.version_of("nats-server: v2.15.2") == (2, 15, 2) > programs.version_of("2.9.10")
    assert programs.version_of("no version") == ()
