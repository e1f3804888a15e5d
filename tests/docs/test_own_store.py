"""The store of `docs/guides/own_store.md` keeps what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from kvwrap import Store
from kvwrap.testing import ManualClock, StoreContract

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "own_store.md"


def redacted_repr() -> dict[str, Any]:
    """What the page's first snippet defines, without running its `main`."""
    found = re.search(
        r"```python\n(.*?)^async def main", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    assert found is not None
    names: dict[str, Any] = {}
    exec(compile(found[1], str(PAGE), "exec", dont_inherit=True), names)
    return names


class TestDrawerStore(StoreContract):
    def make_store(self, clock: ManualClock) -> Store:
        store: Store = redacted_repr()["DrawerStore"]({}, clock=clock)
        return store
