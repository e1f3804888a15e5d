"""Refuse every change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NoReturn

from kvwrap.errors import ConfigurationError, ReadOnlyViolation
from kvwrap.layers.base import (
    Capabilities,
    Capability,
    Collection,
    Entry,
    Expected,
    Finding,
    KeyRange,
    Layer,
    Passage,
    Store,
)

_WRITE_CAPABILITIES = frozenset(
    {
        Capability.COMPARE_AND_PUT,
        Capability.DESTROY,
        Capability.DESTROY_COLLECTION,
        Capability.CULL,
    }
)


class ReadOnly(Layer):
    """Refuses every change with `ReadOnlyViolation`; forwards reads and enumerations.

    Args:
        on_write: "raise", or "ignore" to drop changes silently. Then `put` does nothing,
            `delete` and `expire` return False, and `destroy` and `cull` do nothing.
            Operations that depend on a version (`put_if_absent`, `compare_and_put`,
            `increment`) are refused even then, because any result would be false.
    """

    passage = Passage(read="passes unchanged", write="is refused")
    traits = frozenset({"guards"})
    finding_codes = frozenset({"journal-outside-read-only"})

    def __init__(self, *, on_write: Literal["raise", "ignore"] = "raise") -> None:
        if on_write not in ("raise", "ignore"):
            raise ConfigurationError(f"`on_write` must be 'raise' or 'ignore'; got {on_write!r}")
        self._ignores = on_write == "ignore"

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities - _WRITE_CAPABILITIES

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if expected is not None or not self._ignores:
            self._refuse("write", collection, keys)
        return [True] * len(keys)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if expected is not None or not self._ignores:
            self._refuse("remove", collection, keys)
        return [False] * len(keys)

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        if not self._ignores:
            self._refuse("touch", collection, keys)
        return [False] * len(keys)

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        return int(self._drop_change("drop_range", collection))

    async def drop(self, collection: Collection) -> bool:
        return self._drop_change("drop", collection)

    async def drop_all(self) -> bool:
        return self._drop_change("drop_all")

    async def sweep(self) -> None:
        self._drop_change("sweep")

    def _drop_change(self, operation: str, collection: Collection = None) -> bool:
        if not self._ignores:
            self._refuse(operation, collection)
        return False

    def _refuse(self, operation: str, collection: Collection, keys: Sequence[str] = ()) -> NoReturn:
        raise ReadOnlyViolation(
            f"{operation} was refused: this store is read-only",
            store=self.name,
            collection=collection,
            key=keys[0] if len(keys) == 1 else None,
        )

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        if any("journals" in layer.traits for layer in above):
            yield Finding(
                "journal-outside-read-only",
                "ReadOnly is inside a layer that acknowledges writes before the backend has them, "
                "so writes are acknowledged and never arrive.",
                "Put .read_only() before that layer.",
            )
