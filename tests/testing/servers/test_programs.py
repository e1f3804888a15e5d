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
