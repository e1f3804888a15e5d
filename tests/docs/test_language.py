"""The language of the documentation, docstrings, comments and messages."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = [
    path
    for folder in ("kvwrap", "tests", "examples", "benchmarks", "scripts")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != Path(__file__)
]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "mkdocs.yml"]

REFUSED = re.compile(
    r"\bnought\b|\bin\s+earnest\b|\b[Ww]hoever\b|\banew\b|\bseldom\b|\bof\s+late\b|\bin\s+vain\b"
    r"|\bat\s+hand\b|\bat\s+work\b|\bbears\b|\blets\s+go\s+of\b|\bis\s+none\b|\bfurther\s+in\b"
    r"|\bso\s+many\b|,\s+say(?=\s*(?:[,.;:)\]]|$))"
)
"""Words that readers do not search for, and have to read twice."""

NOT_VERBS = re.compile(
    r"(What|Whether|How|Who|Whoever|Where|When|Which|The|A|An|As|All|Every|Each|Some|Those|These|This|One)\b"
)
"""Beginnings of a docstring that does not say what the function does."""


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a page outside of code, or the comments and strings of a module."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        plain = re.sub(r"(?ms)^( *)```.*?^\1```", lambda m: "\n" * m[0].count("\n"), text)
        yield 1, re.sub(r"`[^`\n]*`", "``", plain)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            yield token.start[0], token.string.strip("\"'")


@pytest.mark.parametrize("path", [*CODE, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_refused_word(path: Path) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line + text.count(chr(10), 0, match.start())}: {match[0]!r}"
        for line, text in prose(path)
        for match in REFUSED.finditer(text)
    ]
    assert not found, "\n".join(found)


PROPERTIES = {"property", "cached_property", "overload"}


@pytest.mark.parametrize(
    "path",
    [path for path in CODE if path.is_relative_to(ROOT / "kvwrap")],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_a_function_says_what_it_does(path: Path) -> None:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        decorators = {ast.unparse(each).rpartition(".")[2] for each in node.decorator_list}
        doc = ast.get_docstring(node)
        if doc and not decorators & PROPERTIES and NOT_VERBS.match(doc):
            found.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {doc[:60]!r}")
    assert not found, "\n".join(found)
