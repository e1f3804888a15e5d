"""Every layer and store has a page with all the parts, and the navigation leads to it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kvwrap.core.registry import LAYERS, STORES

ROOT = Path(__file__).parents[2]
PARTS = (
    "What it does",
    "Defaults",
    "On failure",
    "On cancellation",
    "Where it belongs",
    "What it costs",
)
LAYER_PAGES = {f"layers/{name}.md": where.partition(":")[2] for name, where in LAYERS.items()}
LAYER_PAGES["layers/passthrough.md"] = "Passthrough"
# `rediss` is Redis by another scheme.
STORE_PAGES = {
    f"stores/{name}.md": where.partition(":")[2]
    for name, where in STORES.items()
    if name != "rediss"
}
STORE_PAGES["stores/adapt.md"] = "adapt"


def sections(page: str) -> dict[str, str]:
    """The text under each heading of a page, the page's own title among them."""
    text = (ROOT / "docs" / page).read_text()
    text = re.sub(r"(?s)^```.*?^```$", "", text, flags=re.MULTILINE)
    pieces = re.split(r"^(?:#|##) (.+)$", text, flags=re.MULTILINE)
    return {title: body.strip() for title, body in zip(pieces[1::2], pieces[2::2], strict=True)}


@pytest.mark.parametrize(("page", "title"), {**LAYER_PAGES, **STORE_PAGES}.items())
def test_a_page_has_all_the_parts_in_one_order(page: str, title: str) -> None:
    found = sections(page)
    assert list(found) == [title, *PARTS]
    assert all(found.values()), "no part is empty"


@pytest.mark.parametrize("page", LAYER_PAGES)
def test_a_layers_page_shows_a_right_and_a_wrong_order(page: str) -> None:
    place = sections(page)["Where it belongs"]
    for verdict in ("Right:", "Wrong:"):
        assert re.search(rf"{verdict}[^`]*`[^`]*\w\(", place), (
            f"there is no stack after {verdict!r}"
        )


def test_there_is_no_page_of_what_there_is_not() -> None:
    for folder, pages in (("layers", LAYER_PAGES), ("stores", STORE_PAGES)):
        there = {f"{folder}/{path.name}" for path in (ROOT / "docs" / folder).glob("*.md")}
        assert there == {*pages, f"{folder}/index.md"}


def test_the_navigation_lists_every_page_once() -> None:
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    listed = re.findall(r"([\w/]+\.md)$", nav, re.MULTILINE)
    docs = ROOT / "docs"
    assert sorted(listed) == sorted(str(path.relative_to(docs)) for path in docs.rglob("*.md"))
    for page, title in LAYER_PAGES.items():
        assert f"- {title}: {page}\n" in nav


def test_the_overview_leads_to_every_layer() -> None:
    overview = (ROOT / "docs" / "layers" / "index.md").read_text()
    assert [page for page in LAYER_PAGES if f"({Path(page).name})" not in overview] == []
