"""Keys under a prefix, so that several programs can share collections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kvwrap.layers.base import (
    Capabilities,
    Capability,
    Collection,
    Finding,
    Layer,
    Renaming,
    Store,
    checked_prefix,
    holds_any,
    key_prefix_outside_hashed_keys,
)


class PrefixKey(Renaming):
    """Puts `prefix` in front of every key, in every collection.

    Enumeration gives the keys back without it, and those of others not at all; `destroy`
    drops what bears the prefix and nothing else. No prefix may be the beginning of another
    one used in the same backend, so end it with a separator that keys do not begin with.

    Args:
        prefix: At least one character.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = checked_prefix(prefix)

    def map_collection(self, collection: Collection) -> tuple[Collection, str]:
        return collection, self.prefix

    @property
    def capabilities(self) -> Capabilities:
        """As inside; which collections hold the prefix's keys is known only from keys."""
        found = super().capabilities
        if Capability.KEYS not in found:
            found -= {Capability.COLLECTIONS}
        return found

    async def list_collections(self) -> list[Collection]:
        if Capability.KEYS not in self.inner.capabilities:
            raise self.unsupported("tell its collections from others without enumerating keys")
        return [name for name in await self.inner.list_collections() if await holds_any(self, name)]

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        yield from key_prefix_outside_hashed_keys(self, below)
