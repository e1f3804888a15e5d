"""The table of defaults on each page matches the signature of the class."""

from __future__ import annotations

import inspect
import logging
import re
from pathlib import Path

import pytest

import kvwrap
from kvwrap.builder import LAYERS
from kvwrap.core import serializer
from kvwrap.core.registry import STORES, store_class
from tests.docs.test_pages import PARTS, page_of

DOCS = Path(__file__).parents[2] / "docs"
ROW = re.compile(r"^\| `(\w+)` \| (required|`[^`]*`)(?:[:\s][^|]*)? \|", re.MULTILINE)
ANY_ROW = re.compile(r"^\| (?!-|argument)", re.MULTILINE)
KNOWN = {name: getattr(kvwrap, name) for name in kvwrap.__all__} | {
    "JSON": serializer.JSON,
    "DEBUG": logging.DEBUG,
}


def pages() -> dict[str, type]:
    stores = {page_of(where): store_class(scheme) for scheme, where in STORES.items()}
    return {page_of(layer): layer for layer in LAYERS.values()} | stores


def table(page: Path) -> str:
    section = re.search(r"^## Defaults\n(.*?)^## ", page.read_text(), re.MULTILINE | re.DOTALL)
    assert section is not None, f"{page.name} has no section of defaults"
    return section[1]


@pytest.mark.parametrize(("page", "cls"), pages().items())
def test_the_table_of_defaults_matches_the_signature(page: str, cls: type) -> None:
    parameters = list(inspect.signature(cls).parameters.values())
    text = table(DOCS / page)
    rows = ROW.findall(text)
    assert len(rows) == len(ANY_ROW.findall(text)), "this test cannot parse a row"
    assert [argument for argument, _ in rows] == [parameter.name for parameter in parameters]

    for (argument, cell), parameter in zip(rows, parameters, strict=True):
        if parameter.default is parameter.empty:
            assert cell == "required", argument
            continue
        assert cell != "required", argument
        stated = eval(cell.strip("`"), dict(KNOWN))
        assert parameter.default in (stated, (stated,)), argument


def test_every_page_of_a_layer_is_checked() -> None:
    existing = {f"layers/{page.name}" for page in (DOCS / "layers").glob("*.md")}
    assert existing - set(pages()) == {"layers/index.md", "layers/passthrough.md"}


@pytest.mark.parametrize("page", [*pages(), "layers/passthrough.md"])
def test_every_page_has_the_same_parts(page: str) -> None:
    text = (DOCS / page).read_text()
    assert tuple(re.findall(r"^## (.*)$", text, re.MULTILINE)) == PARTS
    assert "Right: " in text
    assert "Wrong: " in text
