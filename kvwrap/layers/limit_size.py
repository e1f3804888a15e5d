"""Limit the size of values."""

from __future__ import annotations

import sys
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Literal

from kvwrap.errors import ConfigurationError, InvalidValue, KvwrapError, ValueTooLarge
from kvwrap.layers.base import (
    Collection,
    Entry,
    Expected,
    Finding,
    Layer,
    Passage,
    Store,
    add_succeeded,
    take,
)

_CHOICES = ("raise", "drop")


class LimitSize(Layer):
    """Refuses values that are too large or too small, or drops them as a cache would.

    The size is the number of bytes of the serialized value at this layer's position in the
    stack. Reads are not limited.

    Args:
        max_size: The most bytes of a value; `None` for no bound.
        min_size: The fewest bytes of a value, for caches where small values are not worth
            their space.
        on_too_large: "raise" for `ValueTooLarge`, with nothing of the batch written. "drop"
            to write the other values of the batch, and to leave no entry under the key of the
            dropped value, because its previous value would be outdated. Conditional writes
            raise in either case, because they must report whether they happened.
        on_too_small: Likewise, with `InvalidValue`.

    Raises:
        ValueTooLarge: On writing; the error names the key.
        InvalidValue: Likewise, for a value under `min_size`.
    """

    passage = Passage(read="passes unchanged", write="is refused if its value is too large")
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
                raise ConfigurationError(
                    f"`{name}` must be a whole number of bytes, at least 0; got {size!r}"
                )
        for name, choice in (("on_too_large", on_too_large), ("on_too_small", on_too_small)):
            if choice not in _CHOICES:
                raise ConfigurationError(f"`{name}` must be 'raise' or 'drop'; got {choice!r}")
        self.max_size = most
        self.min_size = min_size
        if max_size is None and not min_size:
            raise ConfigurationError("`max_size` or `min_size` must be given; got neither")
        if min_size >= most:
            raise ConfigurationError(
                f"`min_size` must be below `max_size`; got min_size={min_size} and "
                f"max_size={max_size}"
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
                return self._write_fitting(collection, keys, entries, expected)
        return self.inner.write(collection, keys, entries, expected)

    async def _write_fitting(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None,
    ) -> list[bool]:
        """Write the values within the limits and drop the others, or raise before any write."""
        fitting = []
        fits: dict[str, bool] = {}
        for index, (key, entry) in enumerate(zip(keys, entries, strict=True)):
            # If a key occurs twice, its last value decides.
            fits[key] = self.min_size <= len(entry.body) <= self.max_size
            if fits[key]:
                fitting.append(index)
            else:
                is_conditional = expected is not None and expected[index] is not None
                self._check_droppable(len(entry.body), is_conditional, collection, key)
        written = [True] * len(keys)
        if fitting:
            results = await self.inner.write(
                collection,
                take(keys, fitting),
                take(entries, fitting),
                None if expected is None else take(expected, fitting),
            )
            for index, result in zip(fitting, results, strict=True):
                written[index] = result
        dropped = [key for key, fit in fits.items() if not fit]
        if dropped:
            try:
                await self.inner.remove(collection, dropped)
            except KvwrapError as error:
                add_succeeded(error, keys, [key for key, fit in fits.items() if fit])
                raise
        return written

    def _check_droppable(
        self, size: int, is_conditional: bool, collection: Collection, key: str
    ) -> None:
        """Raise unless a value of this size, outside the limits, may be dropped."""
        is_large = size > self.max_size
        if not is_conditional and (self._drops_large if is_large else self._drops_small):
            return
        bound = f"over max_size={self.max_size}" if is_large else f"under min_size={self.min_size}"
        error_class = ValueTooLarge if is_large else InvalidValue
        raise error_class(
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
                "The limit counts bytes after compression or encryption, so the content of a value "
                "determines whether it is refused.",
                "Put .limit_size(...) before .compress() and .encrypt(). Silence this finding if "
                "you intend the backend's own limit.",
            )
