"""The bar that people see on a terminal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kvwrap.cli.progress import Bar
from tests.cli.conftest import Run


def test_a_bar_tells_how_many_of_how_many(tmp_path: Path, run: Run, terminal: None) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    lines = b"".join(
        b'{"collection":"u\x5cu001bs","key":"k%03d","value":1}\n' % n for n in range(40)
    )
    result = run("import", url, "--batch", "10", stdin=lines)
    assert result.code == 0
    result = run("copy", url, f"sqlite:///{tmp_path}/b.db", "--batch", "10")
    assert "40/40" in result.err
    assert "keys/s" in result.err
    assert "copy 'u\\x1bs'" in result.err
    assert "40 seen, 40 copied" in result.out
    assert run("copy", url, f"sqlite:///{tmp_path}/c.db", "--quiet").err == ""


def test_an_export_to_the_terminal_has_no_bar_among_its_lines(
    tmp_path: Path, run: Run, terminal: None
) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    run("put", url, "k", "1")
    result = run("export", url)
    assert "keys/s" not in result.err
    assert "1 seen, 1 copied" in result.err
    assert "keys/s" in run("export", url, f"{tmp_path}/lines").err


def test_programs_see_no_bar(tmp_path: Path, run: Run) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    run("put", url, "k", "1")
    assert run("copy", url, f"sqlite:///{tmp_path}/b.db").err == ""


async def test_a_store_that_cannot_count_has_a_bar_without_a_total(
    terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    from kvwrap import MemoryStore, UnsupportedOperation

    class Uncounted(MemoryStore):
        async def list_collections(self) -> list[str | None]:
            raise UnsupportedOperation("no")

    with Bar("copy", quiet=False) as bar:
        await bar.measure(Uncounted(), "", None)
    assert bar.total is None
    assert re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]|\s", "", capsys.readouterr().err) == ""
