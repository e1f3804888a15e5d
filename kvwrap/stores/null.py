"""A store that keeps nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from kvwrap.core.capability import OPERATIONS
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError
from kvwrap.stores.shared import urls


class NullStore(Store):
    """Takes every write and keeps none: for tests, and to turn a tier off.

    It is always empty, so conditional writes succeed only where nothing was expected.

    Args:
        clock: Where the time comes from.
        serializer: What turns values into bytes where no layer says otherwise.
    """

    capabilities = OPERATIONS

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The store of `null://`."""
        parts = urls.split(url, "null")
        if parts.netloc or parts.path:
            raise ConfigurationError("a null store has no host and no path: null://")
        return cls(**urls.options(parts.query, {}))

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        return [None] * len(keys)

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        return [True] * len(keys) if expected is None else [type(e) is not int for e in expected]

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        return [False] * len(keys)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        return Page(())

    async def list_collections(self) -> list[Collection]:
        return []

    async def drop(self, collection: Collection) -> bool:
        return False

    async def drop_all(self) -> bool:
        return False
