"""The README: its figures, tables and picture are those of the project."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from kvwrap.builder import LAYERS
from kvwrap.core.registry import STORES
from scripts.drawings import FOLDER
from tests.core.drawing.measure import Drawing
from tests.docs.test_pages import LAYER_PAGES, STORE_PAGES

ROOT = Path(__file__).parents[2]
INTEGRATIONS = ROOT / "docs" / "integrations"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return README.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_the_tables_lead_to_every_store_and_layer() -> None:
    listed = re.findall(r"\(docs/((?:stores|layers)/\w+\.md)\)", section("Stores and layers"))
    assert sorted(listed) == sorted({*LAYER_PAGES, *STORE_PAGES})


@pytest.mark.parametrize(("page", "folder"), [("README.md", "docs/"), ("docs/index.md", "")])
def test_every_integration_is_linked_and_has_its_line_to_install(page: str, folder: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    pages = {path.name: path.read_text(encoding="utf-8") for path in INTEGRATIONS.glob("*.md")}
    assert pages
    for name in pages:
        assert f"({folder}integrations/{name}" in text
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = set(tomllib.load(file)["project"]["optional-dependencies"])
    folder_of_modules = ROOT / "kvwrap" / "integrations"
    modules = {path.stem.replace("_", "-") for path in folder_of_modules.iterdir()}
    for extra in (extras & modules) - {"prometheus", "opentelemetry"}:
        assert f'`pip install ".[{extra}]"`' in text
        assert sum(f'pip install ".[{extra}]"' in each for each in pages.values()) == 1


def test_it_counts_the_stores_and_layers_that_there_are() -> None:
    assert f"[{len(set(STORES.values()))} backends](docs/stores/index.md)" in README
    assert f"**{len(LAYERS)} layers that do one thing each.**" in README


def test_layers_are_named_after_their_classes() -> None:
    for layer in LAYERS.values():
        assert f"[{layer.__name__}](docs/layers/" in section("Stores and layers")


def test_the_figures_are_those_of_the_benchmarks() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    measured = dict(
        re.findall(r"^\| (.+?) \| .+? \| .+? \| (.+?) \| .+? \| .+? \|$", page, re.MULTILINE)
    )
    figures = re.findall(r"^\| (.+?) \| (.+?) \|$", section("Performance"), re.MULTILINE)[1:]
    assert len(figures) > 5
    assert "`make bench`" in section("Performance")
    for name, result in figures:
        if name != "---":
            assert measured[name] == result


def test_the_picture_is_that_of_the_snippet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = re.search(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(code[1], "<readme>", "exec", dont_inherit=True), names)
    picture = Drawing((FOLDER / "sessions.svg").read_text(encoding="utf-8"))
    drawn = Drawing(names["sessions"].explain(svg=True))
    key = re.compile(r"primary='\w+'")
    assert key.sub("", picture.words) == key.sub("", drawn.words)
