"""Every layer and store has a page of its own, with all parts, listed in the navigation."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from kvwrap.builder import LAYERS
from kvwrap.core.registry import STORES
from kvwrap.layers.read_through.counts import TierCounts
from tests.docs.test_snippets import SNIPPET

ROOT = Path(__file__).parents[2]
PARTS = (
    "What it does",
    "Defaults",
    "On failure",
    "On cancellation",
    "Layer order",
    "Performance",
)
"""The headings of every page below its title, in order."""


def page_of(where: str | type) -> str:
    """Return the page of a layer's class, or of a store given as "module:Class".

    A layer or store is a module or a package: `kvwrap.layers.retry:Retry` and
    `kvwrap.layers.retry.layer:Retry` both have the page `layers/retry.md`.
    """
    module = where.__module__ if isinstance(where, type) else where.partition(":")[0]
    folder, name = module.split(".")[1:3]
    return f"{folder}/{name}.md"


# Several schemes of a URL may share one store and its page, as `redis` and `rediss` do.
LAYER_PAGES = {page_of(layer): layer.__name__ for layer in LAYERS.values()}
LAYER_PAGES["layers/passthrough.md"] = "Passthrough"
STORE_PAGES = {page_of(where): where.partition(":")[2] for where in STORES.values()}
STORE_PAGES["stores/adapt.md"] = "adapt"


def sections(page: str) -> dict[str, str]:
    """Return the text under each heading of a page, including its title."""
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
    place = sections(page)["Layer order"]
    for verdict in ("Right:", "Wrong:"):
        assert re.search(rf"{verdict}[^`]*`[^`]*\w\(", place), (
            f"there is no stack after {verdict!r}"
        )


def test_no_page_is_without_its_layer_or_store() -> None:
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


def test_the_glossary_is_in_alphabetical_order() -> None:
    rows = re.findall(r"^\| (.+?) \|", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)[1:]
    words = [word.replace("`", "").casefold() for word in rows]
    assert len(words) > 50
    assert words == sorted(set(words))


def test_the_page_of_read_through_has_every_count() -> None:
    page = (ROOT / "docs/layers/read_through.md").read_text()
    counted = {field.name for field in dataclasses.fields(TierCounts)} | {"hit_rate"}
    cells = re.findall(r"^\| (`[^|]+) \| [^|]+ \|$", page, re.MULTILINE)
    assert counted <= set(re.findall(r"`(\w+)`", " ".join(cells)))


def test_code_gets_the_classes_that_the_style_sheet_wraps() -> None:
    styles = (ROOT / "docs" / "assets" / "extra.css").read_text(encoding="utf-8")
    assert ".language-text pre" in styles
    configuration = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "pymdownx.highlight: { pygments_lang_class: true }" in configuration


EXTRAS = {
    "redis": r"RedisStore\(|redis(s|\+\w+)?://",
    "valkey": r"ValkeyStore\(|valkey://",
    "postgresql": r"PostgreSQLStore\(|postgresql://",
    "lmdb": r"LMDBStore\(",
    "dynamodb": r"DynamoDBStore\(",
    "mongodb": r"MongoDBStore\(",
    "nats": r"NATSStore\(",
    "etcd": r"EtcdStore\(",
    "object": r"ObjectStore\(",
    "lz4": r'"lz4"',
    "brotli": r'"brotli"',
    "prometheus": r"import prometheus|prometheus_client",
    "opentelemetry": r"import opentelemetry|from opentelemetry",
}
"""What code needs an extra for."""


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_page_names_the_extras_that_its_code_needs(extra: str) -> None:
    named = re.compile(
        rf"extras? [^.\n]*`{extra}`|`{extra}`[^.\n]*extra|\[[\w,]*\b{extra}\b[\w,]*\]\""
    )
    silent = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        page = path.read_text(encoding="utf-8")
        code = "\n".join(re.sub("#.*", "", match[2]) for match in SNIPPET.finditer(page))
        if re.search(EXTRAS[extra], code) and not named.search(page):
            silent.append(str(path.relative_to(ROOT)))
    assert silent == []
