"""Values within a size."""

from __future__ import annotations

import sys
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Literal

from kvwrap.errors import ConfigurationError, InvalidValue, KvwrapError, ValueTooLarge
from kvwrap.layers.base import Collection, Entry, Expected, Finding, Layer, Store, add_succeeded

_CHOICES = ("raise", "drop")


class LimitSize(Layer):
    """Refuses values that are too large or too small, or lets go of them as a cache would.

    Counted are the bytes of the serialized value, as they are where this layer stands; reads
    are not limited.

    Args:
        max_size: The most bytes of a value; `None` for no bound.
        min_size: The fewest, for caches where small values are not worth their place.
        on_too_large: "raise" for `ValueTooLarge`, with nothing of the batch written. "drop" to
            keep nothing under that key, so that what was there before is not taken for the
            value; the rest of the batch is written, and conditional writes, which have to say
            whether they happened, raise all the same.
        on_too_small: Likewise, with `InvalidValue`.

    Raises:
        ValueTooLarge: On writing; the error names the key.
        InvalidValue: Likewise, for a value under `min_size`.
    """

    traits = frozenset({"guards"})
    finding_codes = frozenset({"limit-inside-transform"})

    def __init__(
        self,
        max_size: int | None = None,
        *,
        min_size: int = 0,
        on_too_large: Literal["raise", "drop"] = "raise",
        on_too_small: Literal["raise", "drop"] = "drop",
    ) -> None:
        most = sys.maxsize if max_size is None else max_size
        for name, size in (("max_size", most), ("min_size", min_size)):
            if type(size) is not int or size < 0:
                raise ConfigurationError(f"{name} is a whole number of bytes, not {size!r}")
        for name, choice in (("on_too_large", on_too_large), ("on_too_small", on_too_small)):
            if choice not in _CHOICES:
                raise ConfigurationError(f"{name} is 'raise' or 'drop', not {choice!r}")
        self.max_size = most
        self.min_size = min_size
        if min_size >= most or (max_size is None and not min_size):
            raise ConfigurationError(
                f"min_size={min_size} and max_size={max_size} let everything through, or nothing"
            )
        self._drops_large = on_too_large == "drop"
        self._drops_small = on_too_small == "drop"

    def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> Coroutine[Any, Any, list[bool]]:
        least, most = self.min_size, self.max_size
        for entry in entries:
            if not least <= len(entry.body) <= most:
                return self._in_part(collection, keys, entries, expected)
        return self.inner.write(collection, keys, entries, expected)

    async def _in_part(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None,
    ) -> list[bool]:
        """Write what is within the limits and drop the rest, or raise before anything is done."""
        fits = []
        fitted: dict[str, bool] = {}
        for place, (key, entry) in enumerate(zip(keys, entries, strict=True)):
            # Where a key occurs twice, its last value decides.
            fitted[key] = self.min_size <= len(entry.body) <= self.max_size
            if fitted[key]:
                fits.append(place)
            else:
                conditional = expected is not None and expected[place] is not None
                self._let_go(len(entry.body), conditional, collection, key)
        written = [True] * len(keys)
        if fits:
            put = await self.inner.write(
                collection,
                [keys[place] for place in fits],
                [entries[place] for place in fits],
                None if expected is None else [expected[place] for place in fits],
            )
            for place, done in zip(fits, put, strict=True):
                written[place] = done
        dropped = [key for key, fit in fitted.items() if not fit]
        if dropped:
            try:
                await self.inner.remove(collection, dropped)
            except KvwrapError as error:
                add_succeeded(error, keys, [key for key, fit in fitted.items() if fit])
                raise
        return written

    def _let_go(self, size: int, conditional: bool, collection: Collection, key: str) -> None:
        """Raise, unless values of this size are to be dropped."""
        large = size > self.max_size
        if not conditional and (self._drops_large if large else self._drops_small):
            return
        bound = f"over max_size={self.max_size}" if large else f"under min_size={self.min_size}"
        kind = ValueTooLarge if large else InvalidValue
        raise kind(
            f"the value is {size} bytes, {bound}: nothing was written",
            store=self.name,
            collection=collection,
            key=key,
        )

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        if any({"compresses", "encrypts"} & layer.traits for layer in above):
            yield Finding(
                "limit-inside-transform",
                "The limit counts bytes after compression or encryption, so whether a value is "
                "refused depends on what is in it.",
                "Put .limit_size(...) before .compress() and .encrypt(); silence this if the "
                "backend's own limit is meant.",
            )
