"""The order that `docs/layers/index.md` recommends: complete, one everywhere, and no mistake."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from kvwrap import MemoryStore
from kvwrap.core.registry import LAYERS as BUILDERS
from tests.catalog import LAYERS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "layers" / "index.md").read_text()
ABOVE, _, LIST = PAGE.partition("## All layers")
LISTED = re.findall(r"\| `\.(\w+)` \|", LIST)
ORDER = [name for name in LISTED if name != "chaos"]
# Routes by key have to see the keys, and stand outside, over stacks of their own.
EXCEPTIONS = {("hash_keys", "route")}


def test_every_layer_is_listed_once() -> None:
    assert sorted(LISTED) == sorted(BUILDERS)


def test_the_groups_have_the_order_of_the_list() -> None:
    groups = re.findall(r"^\| [^|]+ \| (`[^|]+`) \|", ABOVE, re.MULTILINE)
    assert re.findall(r"`(\w+)`", "".join(groups)) == ORDER


def test_the_navigation_has_the_order_of_the_list() -> None:
    nav = re.findall(r"layers/(\w+)\.md", (ROOT / "mkdocs.yml").read_text())
    assert [name for name in nav if name not in {"index", "passthrough"}] == LISTED


@pytest.mark.parametrize(("outer", "inner"), sorted(itertools.combinations(ORDER, 2)))
@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
def test_the_order_is_no_mistake(outer: str, inner: str) -> None:
    backend = MemoryStore()
    both = LAYERS[outer].make(backend.clock) + LAYERS[inner].make(backend.clock)
    codes = [finding.code for finding in both.over(backend).findings]
    assert bool(codes) == ((outer, inner) in EXCEPTIONS), codes
