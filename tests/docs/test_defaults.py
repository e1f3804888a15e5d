"""The table of defaults on each page is the signature of the class."""

from __future__ import annotations

import importlib
import inspect
import logging
import re
from pathlib import Path

import pytest

import kvwrap
from kvwrap.core import serializer
from kvwrap.core.registry import LAYERS, STORES
from tests.docs.test_pages import PARTS, page_of

DOCS = Path(__file__).parents[2] / "docs"
ROW = re.compile(r"^\| `(\w+)` \| (required|`[^`]*`)(?:[:\s][^|]*)? \|", re.MULTILINE)
ANY_ROW = re.compile(r"^\| (?!-|argument)", re.MULTILINE)
KNOWN = {**vars(kvwrap), "JSON": serializer.JSON, "DEBUG": logging.DEBUG}


def pages() -> dict[str, str]:
    return {page_of(where): where for where in [*LAYERS.values(), *STORES.values()]}


def table(page: Path) -> str:
    found = re.search(r"^## Defaults\n(.*?)^## ", page.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None, f"{page.name} has no section of defaults"
    return found[1]


@pytest.mark.parametrize(("page", "where"), pages().items())
def test_the_table_of_defaults_is_the_signature(page: str, where: str) -> None:
    module, _, name = where.partition(":")
    made = getattr(importlib.import_module(module), name)
    parameters = list(inspect.signature(made).parameters.values())
    text = table(DOCS / page)
    rows = ROW.findall(text)
    assert len(rows) == len(ANY_ROW.findall(text)), "a row is not of the form that this test reads"
    assert [argument for argument, _ in rows] == [each.name for each in parameters]

    for (argument, cell), parameter in zip(rows, parameters, strict=True):
        if parameter.default is parameter.empty:
            assert cell == "required", argument
            continue
        assert cell != "required", argument
        stated = eval(cell.strip("`"), dict(KNOWN))
        assert parameter.default in (stated, (stated,)), argument


def test_every_page_of_a_layer_is_checked() -> None:
    written = {f"layers/{page.name}" for page in (DOCS / "layers").glob("*.md")}
    assert written - set(pages()) == {"layers/index.md", "layers/passthrough.md"}


@pytest.mark.parametrize("page", [*pages(), "layers/passthrough.md"])
def test_every_page_has_the_same_parts(page: str) -> None:
    text = (DOCS / page).read_text()
    assert tuple(re.findall(r"^## (.*)$", text, re.MULTILINE)) == PARTS
    assert "Right: " in text
    assert "Wrong: " in text
