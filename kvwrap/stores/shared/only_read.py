"""Base class of stores whose entries only another library writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NoReturn

from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected
from kvwrap.core.store import Store
from kvwrap.errors import ReadOnlyViolation


class OnlyRead(Store):
    """A store that refuses every change with `ReadOnlyViolation`.

    Attributes:
        refusal: The text of that error: what is only read, and what to use instead.
    """

    refusal: ClassVar[str]

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        self._refuse(collection)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        self._refuse(collection)

    def _refuse(self, collection: Collection) -> NoReturn:
        raise ReadOnlyViolation(self.refusal, store=self.name, collection=collection)
