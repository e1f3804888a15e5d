"""`kvwrap completion`: what a shell completes."""

from __future__ import annotations

import shutil
import subprocess
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


def test_bash_completes(tmp_path: Path, run: Run) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    script = tmp_path / "completion"
    script.write_text(run("completion", "bash").out)

    def completed(*words: str) -> list[str]:
        line = " ".join(f"'{word}'" for word in ("kvwrap", *words))
        function = '$(complete -p kvwrap | sed "s/.*-F \\([^ ]*\\).*/\\1/")'
        program = (
            f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; "
            f'{function}; printf "%s\\n" "${{COMPREPLY[@]}}"'
        )
        done = subprocess.run(
            [bash, "--norc", "-c", program], capture_output=True, text=True, check=True
        )
        return [word.strip() for word in done.stdout.split()]

    assert completed("ge") == ["get"]
    assert "--collection" in completed("keys", "--c")
    assert {"keep", "replace"} <= set(completed("copy", "a", "b", "--existing", ""))
