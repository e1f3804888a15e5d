"""Servers that are built into the cache: the commands that build them, and safety of the cache."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from kvwrap.testing.servers import find_server, server_cache
from scripts.servers import builds
from scripts.servers.builds import (
    Build,
    CargoBuild,
    GoBuild,
    JavaServer,
    NodePackage,
    PythonServer,
    Wheel,
)
from scripts.servers.commands import SetupError

ROOT = Path(__file__).parents[2]
BUILDING = """
import pathlib, sys, time
from scripts.servers.builds import Build

class Slow(Build):
    def build(self, folder):
        with open({log!r}, "a") as file:
            file.write("built\\n")
        time.sleep(0.3)
        self.write_launcher(folder, "echo", "")

print("ready", flush=True)
sys.stdin.readline()
Slow("program", "1").install()
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Record commands instead of running them."""
    recorded: list[list[str]] = []

    def run(*command: str | Path, **_: object) -> str:
        recorded.append([str(word) for word in command])
        return ""

    monkeypatch.setattr(builds, "run", run)
    monkeypatch.setattr(builds, "require", lambda tool, advice: tool)
    return recorded


def text_of(commands: list[list[str]]) -> str:
    return "\n".join(" ".join(command) for command in commands)


def test_two_processes_build_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = BUILDING.format(log=str(log))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.communicate("go\n", timeout=60)
        assert process.returncode == 0
    assert log.read_text() == "built\n"
    assert find_server("program") == server_cache() / "program/1/bin/program"


def test_a_failed_build_leaves_nothing_behind() -> None:
    class Failing(Build):
        def build(self, folder: Path) -> None:
            self.write_launcher(folder, "echo", "")
            raise SetupError("half-way")

    with pytest.raises(SetupError, match="half-way"):
        Failing("program", "1").install()
    assert find_server("program") is None
    assert [path.name for path in server_cache().rglob("*") if path.is_file()] == ["program.lock"]


def test_a_launcher_becomes_the_server_and_passes_arguments_on() -> None:
    class Shell(Build):
        def build(self, folder: Path) -> None:
            (folder / "lib").mkdir()
            (folder / "lib" / "script").write_text('echo $$ "$@"')
            self.write_launcher(folder, "sh", '"$here/lib/script"')

    Shell("program", "1").install()
    program = find_server("program")
    assert program is not None
    process = subprocess.Popen([program, "two words"], stdout=subprocess.PIPE, text=True)
    assert process.communicate(timeout=60)[0] == f"{process.pid} two words\n"


def test_the_newest_version_is_found() -> None:
    class Empty(Build):
        def build(self, folder: Path) -> None:
            self.write_launcher(folder, "true", "")

    for version in ("2.9.10", "2.15.2", "2.9.9"):
        Empty("program", version).install()
    assert find_server("program") == server_cache() / "program/2.15.2/bin/program"


def test_a_go_program_is_built_in_a_module_that_requires_it(
    commands: list[list[str]], tmp_path: Path
) -> None:
    GoBuild("server", "1.2", package="example.test/server/v1").install()
    assert "go get example.test/server/v1@v1.2" in text_of(commands)
    assert commands[-1][-1] == "example.test/server/v1"
    assert commands[-1][commands[-1].index("-o") + 1].endswith("/bin/server")


def test_a_crate_is_built_with_its_own_lock_file(commands: list[list[str]]) -> None:
    CargoBuild("server", "1.2", crate="server-rs", features=("a", "b")).install()
    (command,) = commands
    assert command[:6] == ["cargo", "install", "server-rs", "--version", "1.2", "--locked"]
    assert command[-3:] == ["--no-default-features", "--features", "a,b"]


def test_jars_come_with_what_they_depend_on(
    commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    projects: list[str] = []

    def run(*command: str | Path, **_: object) -> str:
        if command[0] == "mvn":
            projects.append(Path(command[4]).read_text())
        commands.append([str(word) for word in command])
        return ""

    monkeypatch.setattr(builds, "run", run)
    server = JavaServer("server", "1", main="Main", jars=("group.id:artifact:1.5",))
    server.install()
    assert (
        "<groupId>group.id</groupId><artifactId>artifact</artifactId><version>1.5</version>"
        in projects[0]
    )
    assert commands[-1][-1].endswith("scripts/servers/java/Main.java")
    launcher = (server.folder() / "bin" / "server").read_text()
    assert '-cp "$here/lib/*:$here/classes" Main "$@"' in launcher


def test_a_program_in_a_python_package(commands: list[list[str]]) -> None:
    server = Wheel("server", "1.2", package="package", path="package/{machine}/server")
    server.install()
    (command,) = commands
    assert command[-1] == "package==1.2"
    assert command[-2] == command[command.index("--target") + 1]
    program = server.folder() / "bin" / "server"
    target = server.folder() / "lib" / "package" / platform.machine() / "server"
    assert program.is_symlink()
    assert program.resolve() == target


def test_a_server_in_python_is_apart_from_the_tests(commands: list[list[str]]) -> None:
    server = PythonServer("server", "1.2.3", requirement="package[extra]==1.2", main="moto_server")
    server.install()
    (command,) = commands
    assert command[-1] == "package[extra]==1.2"
    assert server.folder().name == f"1.2.3-{sys.implementation.cache_tag}"
    assert (server.folder() / "moto_server.py").is_file()
    launcher = (server.folder() / "bin" / "server").read_text()
    assert f'exec "{sys.base_prefix}/bin/python3" "$here/moto_server.py" "$@"' in launcher
    assert 'PYTHONPATH="$here/lib"' in launcher


def test_a_launcher_prints_its_version_and_names_a_missing_interpreter() -> None:
    class Script(Build):
        interpreter = "sh"

        def build(self, folder: Path) -> None:
            self.write_launcher(folder, self.interpreter, "no-such-script")

    Script("program", "1.5").install()
    printed = subprocess.run([find_server("program"), "--version"], capture_output=True, check=True)
    assert printed.stdout == b"1.5\n"
    Script.interpreter = "no-such-interpreter"
    Script("program", "1.6").install()
    result = subprocess.run([find_server("program"), "--version"], capture_output=True, check=False)
    assert result.returncode == 127
    assert b"no-such-interpreter is missing" in result.stderr


def test_a_package_of_node_is_run_by_its_script(commands: list[list[str]]) -> None:
    server = NodePackage("server", "3", package="package", script="dist/main.js")
    server.install()
    assert commands[0][-1] == "package@3"
    launcher = (server.folder() / "bin" / "server").read_text()
    assert 'exec "node" "$here/node_modules/package/dist/main.js" "$@"' in launcher
