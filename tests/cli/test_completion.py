"""`kvwrap completion`: what a shell completes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kvwrap.cli.main import COMMANDS
from tests.cli.conftest import Run


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_every_command_is_in_the_script(shell: str, run: Run) -> None:
    result = run("completion", shell)
    assert (result.code, result.err) == (0, "")
    for command in COMMANDS:
        assert command in result.out
    assert "if-absent" in result.out


Completed = Callable[..., list[str]]


@pytest.fixture
def completed(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Completed:
    """Return a function that returns what bash completes after words, as it breaks them."""
    bash = shutil.which("bash")
    assert bash is not None
    script = tmp_path / "completion"
    script.write_text(run("completion", "bash").out)
    there = tmp_path / "there"
    there.mkdir()
    monkeypatch.chdir(there)

    def complete(*words: str) -> list[str]:
        line = " ".join(f"'{word}'" for word in ("kvwrap", *words))
        function = '$(complete -p kvwrap | sed "s/.*-F \\([^ ]*\\).*/\\1/")'
        program = (
            f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; "
            "COMP_WORDBREAKS=$' \\t\\n\"\\'><=;|&(:'; "
            f'{function} 2>/dev/null; printf "%s\\n" "${{COMPREPLY[@]}}"'
        )
        done = subprocess.run(
            [bash, "--norc", "-c", program], capture_output=True, text=True, check=True
        )
        return [word.strip() for word in done.stdout.splitlines() if word]

    return complete


def test_bash_completes_commands_and_options(completed: Completed) -> None:
    assert completed("ge") == ["get"]
    assert "--collection" in completed("keys", "--c")
    assert {"keep", "replace"} <= set(completed("copy", "a", "b", "--existing", ""))
    assert completed("copy", "redis", ":", "//a", "redis", ":", "//b", "--existing", "k") == [
        "keep"
    ]


def test_bash_completes_files_and_schemes_where_a_store_is_expected(completed: Completed) -> None:
    Path("kvwrap.toml").touch()
    Path("app.db").touch()
    Path("data").mkdir()
    for words in (("get",), ("top",), ("copy", "a"), ("migrate", "diskcache", "a"), ("export",)):
        assert completed(*words, "kv") == ["kvwrap.toml"]
        assert "sqlite://" in completed(*words, "sq")
        assert completed(*words, "da") == ["data/"]
    assert completed("copy", "a", "b", "--state", "kv") == ["kvwrap.toml"]
    assert completed("get", "kvwrap.toml", "kv") == []  # a key


def test_bash_completes_paths_in_urls(completed: Completed) -> None:
    """Words are given as bash breaks them: at colons, of which it replaces what follows."""
    Path("app.db").touch()
    Path("my data.db").touch()
    assert completed("get", "sqlite", ":", "///ap") == ["///app.db"]
    assert completed("get", "sqlite", ":", "///my") == ["///my\\ data.db"]
    here = Path.cwd()
    assert completed("get", "file-tree", ":", f"//{here.parent}/the") == [f"//{here}/"]
    assert completed("get", "redis", ":", "//lo") == []
