"""A store that keeps nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from kvwrap.core.capability import OPERATIONS, Capability
from kvwrap.core.changes import Listener, Scope, Subscription
from kvwrap.core.entry import Entry
from kvwrap.core.part import Passage
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError
from kvwrap.stores.shared import urls
from kvwrap.stores.shared.feed import Listeners


class NullStore(Store):
    """Accepts every write and stores nothing: for tests, and to switch off a cache tier.

    It is always empty, so a conditional write succeeds only if it expects no entry.

    Args:
        clock: Source of the time.
        serializer: Converts values to bytes, unless a layer does.
    """

    capabilities = OPERATIONS | {Capability.WATCH}
    passage = Passage(read="finds nothing", write="is accepted, and forgotten")

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Create the store of `null://`.

        Raises:
            ConfigurationError: The URL has a host, a path or options.
        """
        parts = urls.split_url(url, "null")
        if parts.netloc or parts.path:
            raise ConfigurationError(
                "the URL of a NullStore must have no host and no path: write null://"
            )
        return cls(**urls.parse_options(parts.query, {}))

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        return [None] * len(keys)

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if expected is None:
            return [True] * len(keys)
        return [type(version) is not int for version in expected]

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

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
        return Listeners().add(scope, listener)
