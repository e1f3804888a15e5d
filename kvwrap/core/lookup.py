"""Looking for a value that may have to be computed, and why it is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvwrap.core.entry import Entry
from kvwrap.core.options import ComputeOptions
from kvwrap.core.outcomes import INVALID, Missing
from kvwrap.core.peeking import peeking
from kvwrap.core.primitives import Collection
from kvwrap.core.tagged import TaggedMethods
from kvwrap.core.turns import Turns, turn
from kvwrap.errors import KvwrapError


class LookupMethods(TaggedMethods):
    """How `get_or_put` reads."""

    async def _find(
        self, collection: Collection, key: str, options: ComputeOptions, *, loads: bool = True
    ) -> Entry | Missing:
        """Return the entry, or why it is missing; with `loads`, its value has been seen to load."""
        ended = self._computing.ended
        entry = None
        try:
            with peeking():
                entry = (await self.read(collection, (key,)))[0]
            if entry is None:
                return Missing(ended)
            if entry.codec != self._tag and self._is_stale(entry):
                return Missing(ended, entry.version, entry)
            if loads:
                self._load(entry, collection, key, options)
        except KvwrapError as error:
            return self._missing_after(error, entry, ended, options)
        return entry

    def _missing_after(
        self, error: KvwrapError, entry: Entry | None, ended: int, options: ComputeOptions
    ) -> Missing:
        """Return why a value is computed after reading it failed, or raise the error.

        Args:
            error: The failure.
            entry: What was read, if that is known.
            ended: Number of computations that had ended before.
            options: The options, which decide.
        """
        if isinstance(error, INVALID):
            if not options.computes_invalid:
                raise error
            self._computing.counts.invalid += 1
            message = "%s: a stored value cannot be read, and is computed again: %s"
            self._computing.warn("invalid", message, self.name, error)
            return Missing(ended, None if entry is None else entry.version)
        if not options.computes_on_error:
            raise error
        self._note_failure("read", error)
        return Missing(ended)

    def _load(self, entry: Entry, collection: Collection, key: str, options: ComputeOptions) -> Any:
        value = self._to_value(entry, collection, key)
        return value if options.load is None else options.load(value, key, collection)

    async def _find_many(
        self,
        collection: Collection,
        keys: Sequence[str],
        options: ComputeOptions,
        values: dict[str, Any],
    ) -> dict[str, Missing]:
        """Add the values of the keys that have one. Returns why the others are missing."""
        if not keys:
            return {}
        ended = self._computing.ended
        try:
            with peeking():
                entries = await self.read(collection, keys)
        except KvwrapError as error:
            if not isinstance(error, INVALID) or not options.computes_invalid:
                missing = self._missing_after(error, None, ended, options)
                return dict.fromkeys(keys, missing)
            return await self._find_one_by_one(collection, keys, options, values)
        found: dict[str, Missing] = {}
        turns = Turns()
        for key, entry in zip(keys, entries, strict=True):
            if entry is None:
                found[key] = Missing(ended)
            elif entry.codec != self._tag and self._is_stale(entry):
                found[key] = Missing(ended, entry.version, entry)
            else:
                try:
                    values[key] = self._load(entry, collection, key, options)
                except KvwrapError as error:
                    found[key] = self._missing_after(error, entry, ended, options)
                if turns.are_due(len(entry.body)):
                    await turn()
        return found

    async def _find_one_by_one(
        self,
        collection: Collection,
        keys: Sequence[str],
        options: ComputeOptions,
        values: dict[str, Any],
    ) -> dict[str, Missing]:
        """Do what `_find_many` does where an entry prevents the reading of all."""
        found: dict[str, Missing] = {}
        for key in keys:
            entry = await self._find(collection, key, options)
            if isinstance(entry, Missing):
                found[key] = entry
            else:
                values[key] = self._load(entry, collection, key, options)
        return found
