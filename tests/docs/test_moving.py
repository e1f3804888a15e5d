"""The tables of the pages "Moving from …": every row runs in both systems, with equal results."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "moving"
ROW = re.compile(r"^\| ([^|]*)\| `([^|]+)` \| `([^|]+)` \| ?([^|]*)\|$", re.MULTILINE)
SNIPPET = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
COMPARED = sorted(name for name, text in PAGES.items() if ROW.search(text))


def result(code: str, names: dict[str, Any], loop: asyncio.Runner) -> tuple[str, Any]:
    """Run a cell. Returns what its last expression is, or that it raised an error."""
    tree = ast.parse(code)
    last = tree.body[-1]
    if isinstance(last, ast.Expr):
        tree.body[-1] = ast.copy_location(
            ast.Assign([ast.Name("_", ast.Store())], last.value), last
        )
    names["_"] = None
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    compiled = compile(ast.fix_missing_locations(tree), code, "exec", flags, dont_inherit=True)
    try:
        waiting = eval(compiled, names)
        if inspect.iscoroutine(waiting):
            loop.run(waiting)
    except (NameError, AttributeError, SyntaxError):
        raise
    except Exception:
        return "raised", None
    return "returned", names["_"]


def rows(page: str) -> Iterator[tuple[str, str, str]]:
    for match in ROW.finditer(PAGES[page]):
        yield match[2], match[3], match[4].strip()


@pytest.mark.parametrize("page", COMPARED)
def test_every_row_does_the_same_in_both_systems(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "moving"}
    before = SNIPPET.search(PAGES[page])
    assert before is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Great Expectations uses modules that are deprecated
        exec(compile(textwrap.dedent(before[1]), page, "exec", dont_inherit=True), names)
    with asyncio.Runner() as loop:
        for theirs, ours, difference in rows(page):
            found, own = (result(code, names, loop) for code in (theirs, ours))
            if difference:
                assert own != found, f"{ours}: there is no difference"
            else:
                assert own == found, f"{ours}: {own}, and not {found} as of {theirs}"
        for name in ("theirs", "ours"):
            ended = names[name].close() if hasattr(names[name], "close") else None
            if inspect.iscoroutine(ended):
                loop.run(ended)


def test_there_are_pages() -> None:
    assert "diskcache.md" in COMPARED
