"""The command line as a whole: help, wrong arguments, exit codes, secrets."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import kvwrap
from kvwrap import MemoryStore, StoreUnavailable
from kvwrap.cli.main import COMMANDS, create_app, main
from kvwrap.testing.servers.base import free_port
from tests.cli.conftest import Run
from tests.cli.programs import program

SECRET = "hunter2"


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_without_a_command_the_help_is_shown(words: list[str], run: Run) -> None:
    result = run(*words)
    assert result.code == 0
    assert not result.err
    for command in COMMANDS:
        summary = create_app()[command].help.partition("\n")[0]
        assert f"  {command}: {summary}\n" in result.out, "on one line, which can be searched"


def test_commands_are_listed_with_one_line_each(run: Run, terminal: None) -> None:
    out = re.sub(r"\x1b\[[0-9;]*m", "", run("--help").out)
    for command in COMMANDS:
        summary = create_app()[command].help.partition("\n")[0]
        assert re.search(rf"^│ {command} +{re.escape(summary)} +│$", out, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_says_what_it_is(command: str) -> None:
    app = create_app()[command]
    assert app.help.strip()
    for argument in app.assemble_argument_collection(parse_docstring=True):
        assert argument.parameter.help, argument.name
        assert argument.parameter.help.endswith("."), argument.name


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_terminal_of_80_columns(command: str, run: Run, terminal: None) -> None:
    out = re.sub(r"\x1b\[[0-9;]*m", "", run(command, "--help").out)
    assert f"kvwrap {command}" in out.splitlines()[0]
    assert "ARGS" not in out
    lines = [line.rstrip() for line in out.splitlines()]
    assert max(map(len, lines)) <= 80
    text = lines[: next(at for at, line in enumerate(lines) if line.startswith("╭"))]
    for line, following in itertools.pairwise(text):
        if line and following:
            assert len(f"{line} {following.split()[0]}") > 80, "broken before its end"


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_is_that_of_the_package(option: str, run: Run) -> None:
    assert run(option).out == f"{kvwrap.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rewrit", "store.toml"], "unknown command, 'rewrit': did you mean 'rewrite'?"),
        (["zzz"], "inspect, "),
        (["rewrite"], "STORE"),
        (["--verbose"], "unknown option, '--verbose'"),
        (["get", "memory://", "k", "--colection=c"], "did you mean '--collection'?"),
        (["get", "memory://", "k", "-z"], "unknown option, '-z'"),
        (["get", "memory://", "-key"], "; after --, such a word is no option (kvwrap get --help)"),
        (["get", "memory://", "k", "--collection"], "--collection requires an argument"),
        (["get", "memory://", "k", "extra"], "takes STORE KEY only (kvwrap get --help)"),
        (["keys", "memory://", "user:"], "STORE only; --prefix and --collection choose"),
        (["version"], "did you mean '--version'?"),
        (["help"], "did you mean '--help'?"),
        (["-v"], "choose from --help, --version"),
        (["keygen", "--algorithm", "rot13"], "aes-256-gcm"),
        (["rewrite", "memory://", "--batch", "many"], "--batch"),
        (["put", "memory://", "k", "1", "--ttl", "soon"], "15m"),
        (["put", "memory://", "k", "1", "--ttl", "0"], "ttl"),
        (["get", "redis:localhost", "k"], "did you mean redis://?"),
        (["get", "rediss", "k"], "there is no file rediss"),
        (["get", "ftp://localhost", "k"], "ftp"),
        (["get", ".", "k"], ". is a folder"),
        (["get", "memory://", ""], "at least one character"),
        (["get", "memory://", "k\x1b[2J"], "'k\\x1b[2J'"),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], says: str, run: Run) -> None:
    result = run(*arguments)
    assert result.code == (1 if "\x1b" in "".join(arguments) else 2)
    assert says in result.err
    assert not result.out
    assert all(char.isprintable() or char == "\n" for char in result.err)


def test_a_file_that_is_missing_is_named_with_the_nearest(tmp_path: Path, run: Run) -> None:
    (tmp_path / "kvwrap.toml").write_text("")
    result = run("inspect", str(tmp_path / "kvwarp.toml"))
    assert result.code == 2
    assert f"did you mean {tmp_path}/kvwrap.toml?" in result.err


def test_a_mistake_in_toml_has_line_and_column(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "kvwrap.toml"
    path.write_text('store = "memory://"\nlayers = [1,\n= 2]\n')
    result = run("keys", str(path))
    assert result.code == 2
    assert "(at line 3, column 1)" in result.err
    path.write_text('store = "memory://"\nlayers = ["compres"]\n')
    assert "layers[0].type: " in run("keys", str(path)).err
    assert "did you mean 'compress'?" in run("keys", str(path)).err


def test_a_stack_is_chosen_by_its_name(stacks: str, run: Run) -> None:
    assert run("put", f"{stacks}#plain", "k", "1").code == 0
    assert run("get", f"{stacks}#plain", "k").out == "1\n"
    assert run("get", f"{stacks}#sessions", "k").code == 1
    assert "did you mean 'sessions'?" in run("get", f"{stacks}#sesions", "k").err
    assert "'sessions', 'plain'" in run("get", stacks, "k").err


@pytest.mark.parametrize(
    "arguments",
    [
        ["get", f"redis://user:{SECRET}@127.0.0.1:{{port}}/0", "k"],
        ["get", f"redis://user:{SECRET}@127.0.0.1:{{port}}/0", "k", "too", "many"],
        ["get", f"redis://user:{SECRET}@127.0.0.1:{{port}}/0?timeou=1", "k"],
        ["get", f"redi://user:{SECRET}@127.0.0.1:{{port}}/0", "k"],
        ["get", f"redis:user:{SECRET}@127.0.0.1", "k"],
        ["check", f"redis://user:{SECRET}@127.0.0.1:{{port}}/0"],
        ["explain", f"redis://user:{SECRET}@127.0.0.1:{{port}}/0"],
        ["put", "memory://", "k", f"{{{SECRET}"],
        ["put", "memory://", "k", "1", SECRET],
        ["put", "memory://", "k", "1", f"--password={SECRET}"],
    ],
)
def test_secrets_are_never_shown(arguments: list[str], run: Run) -> None:
    port = str(free_port())
    result = run(*[word.replace("{port}", port) for word in arguments])
    assert SECRET not in result.out + result.err
    assert result.out + result.err


def test_an_outage_has_a_code_of_its_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*arguments: object) -> None:
        raise StoreUnavailable("the backend does not respond")

    monkeypatch.setattr(MemoryStore, "count_range", fail)
    result = run("count", "memory://")
    assert (result.code, result.err) == (3, "kvwrap: the backend does not respond\n")


def test_a_defect_shows_a_traceback_without_secrets(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*arguments: object) -> None:
        raise RuntimeError(f"cannot parse redis://user:{SECRET}@localhost/0")

    monkeypatch.setattr(MemoryStore, "count_range", fail)
    result = run("count", "memory://")
    assert result.code == 70
    assert "Traceback" in result.err
    assert "RuntimeError: cannot parse redis://***@localhost/0" in result.err
    assert SECRET not in result.err


def test_without_cyclopts_the_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cyclopts", None)
    result = run("keygen")
    assert result.code == 2
    assert "extra 'cli'" in result.err


@pytest.mark.parametrize("command", ["keys", "copy"])
def test_ctrl_c_has_its_code(command: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(target: str, *, python: bool) -> None:
        raise KeyboardInterrupt

    module = {"keys": "listing"}.get(command, command)
    monkeypatch.setattr(f"kvwrap.cli.{module}.load", interrupt)
    result = run(command, "memory://", *(["memory://"] if command == "copy" else []))
    assert result.code == 130
    assert ("run the same command again" in result.err) == (command == "copy")


def test_a_broken_pipe_ends_quietly(tmp_path: Path, run: Run) -> None:
    url = f"sqlite:///{tmp_path}/many.db"
    lines = b"".join(b'{"key":"k%06d%s","value":1}\n' % (n, b"x" * 200) for n in range(2_000))
    assert run("import", url, "--batch", "1000", stdin=lines).code == 0
    with subprocess.Popen(
        program("keys", url), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"k000000")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize(
    "words", [["--help"], ["get", "--help"], ["keygen"], ["check", "memory://"]]
)
def test_output_that_nobody_reads_has_a_code_of_its_own(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(program(*words), stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_closed_output_is_told_and_closed_messages_are_left_out() -> None:
    words = program("get", "memory://", "k")
    for descriptor, code, says in ((1, 2, b"standard output must be open"), (2, 1, b"")):
        done = subprocess.run(
            words, capture_output=True, check=False, preexec_fn=partial(os.close, descriptor)
        )
        assert done.returncode == code
        assert done.stdout == b""
        assert says in done.stderr
        assert b"Traceback" not in done.stderr


def test_a_full_disk_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            program("keygen"), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_words_that_are_no_unicode_and_a_closed_input_are_refused() -> None:
    """Both come from the shell only, so they are tried as a program."""
    for words, says in (
        ([b"k", b"\xff", b"--format", b"text"], "UTF-8"),
        ([b"\xff", b"1"], "lone surrogates"),
        ([b"k"], "standard input"),
    ):
        done = subprocess.run(
            [*program("put", "memory://"), *words],
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=lambda: os.close(0),
        )
        assert done.returncode == 2
        assert says in done.stderr
        assert "Traceback" not in done.stderr


def test_the_package_itself_does_without() -> None:
    """A server that uses kvwrap as a library loads nothing of the command line."""
    code = "import sys, kvwrap; print({'cyclopts', 'rich', 'kvwrap.cli'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_package_is_a_command() -> None:
    words = [sys.executable, "-m", "kvwrap", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "keygen" in done.stdout


def test_main_takes_the_arguments_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["kvwrap", "count", "memory://"])
    assert main() == 0
    assert capsys.readouterr().out == "0\n"


_INTERRUPTED_AT = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Finder())
from kvwrap.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    "module",
    ["kvwrap.cli.main", "msgspec", "cyclopts", "kvwrap.cli.listing", "kvwrap.builder", "sqlite3"],
)
def test_ctrl_c_while_modules_are_loaded_shows_no_traceback(module: str, tmp_path: Path) -> None:
    code = _INTERRUPTED_AT.format(name=module)
    ended = subprocess.run(
        [sys.executable, "-c", code, "count", f"sqlite:///{tmp_path}/x.db"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr in ("", "kvwrap: interrupted\n")


@pytest.mark.parametrize(("word", "meant"), [("list", "keys"), ("ls", "keys"), ("set", "put")])
def test_words_of_other_tools_lead_to_the_command(word: str, meant: str, run: Run) -> None:
    assert f"did you mean {meant!r}?" in run(word).err
