"""The store of `docs/guides/own_store.md` passes the store contract."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from kvwrap import Store
from kvwrap.testing import ManualClock, StoreContract

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "own_store.md"


def definitions() -> dict[str, Any]:
    """Return what the page's first snippet defines, without running its `main`."""
    snippet = re.search(
        r"```python\n(.*?)^async def main", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    assert snippet is not None
    names: dict[str, Any] = {}
    exec(compile(snippet[1], str(PAGE), "exec", dont_inherit=True), names)
    return names


class TestDrawerStore(StoreContract):
    def make_store(self, clock: ManualClock) -> Store:
        store: Store = definitions()["DrawerStore"]({}, clock=clock)
        return store
