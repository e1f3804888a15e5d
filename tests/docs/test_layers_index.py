"""The recommended order of layers is complete, the same everywhere, and produces no finding."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from kvwrap import MemoryStore
from kvwrap.builder import LAYERS as BUILDERS
from tests.catalog import LAYERS
from tests.docs.test_pages import page_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "layers" / "index.md").read_text()
ABOVE, _, LIST = PAGE.partition("## All layers")
LISTED = re.findall(r"\| `\.(\w+)` \|", LIST)
ORDER = [name for name in LISTED if name != "chaos"]
# Routing by key must see the keys: it is outermost, over separate stacks.
EXCEPTIONS = {("hash_keys", "route")}


def test_every_layer_is_listed_once() -> None:
    assert sorted(LISTED) == sorted(BUILDERS)


def test_the_groups_have_the_order_of_the_list() -> None:
    groups = re.findall(r"^\| [^|]+ \| (`[^|]+`) \|", ABOVE, re.MULTILINE)
    assert re.findall(r"`(\w+)`", "".join(groups)) == ORDER


def test_the_navigation_has_the_order_of_the_list() -> None:
    nav = re.findall(r"layers/\w+\.md", (ROOT / "mkdocs.yml").read_text())
    without_builder = {"layers/index.md", "layers/passthrough.md"}
    expected = [page_of(BUILDERS[name]) for name in LISTED]
    assert [page for page in nav if page not in without_builder] == expected


@pytest.mark.parametrize(("outer", "inner"), sorted(itertools.combinations(ORDER, 2)))
@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
def test_the_order_produces_no_finding(outer: str, inner: str) -> None:
    backend = MemoryStore()
    both = LAYERS[outer].make(backend.clock) + LAYERS[inner].make(backend.clock)
    codes = [finding.code for finding in both.over(backend).findings]
    assert bool(codes) == ((outer, inner) in EXCEPTIONS), codes
