"""What hit rates near tiers of other sizes would have had: a sampled miss-ratio curve."""

from __future__ import annotations

import msgspec


class SizeAdvice(msgspec.Struct, frozen=True):
    """The hit rate that a near tier of another size would have had.

    Attributes:
        factor: Its size, compared with that of the tier there is: 0.5, 2 or 10.
        max_entries: Its maximum number of entries; None if the tier has no such limit.
        max_bytes: Its maximum number of bytes; None if the tier has no such limit.
        hit_rate: Estimated share of the keys read that would not have waited for the far store.
        sampled: Share of the keys from which that was estimated, from 0 to 1.
    """

    factor: float
    max_entries: int | None
    max_bytes: int | None
    hit_rate: float
    sampled: float

    @property
    def label(self) -> str:
        """The factor as a text, as the figure `near.hit_rate` has it."""
        return f"{self.factor:g}"


class Advice(msgspec.Struct, frozen=True):
    """A hit-rate curve: what the near tier has done, and what other sizes would have done.

    Attributes:
        since: When the reads began that it is about, in Unix seconds. They are the last ones:
            between 100 and 200 for each entry of the tier, or all so far if these are fewer.
        reads: Number of keys read since then.
        hit_rate: Share of them that did not wait for the far store, with the size there is.
        sizes: The same for half, twice and ten times that size, in this order.
    """

    since: float
    reads: int
    hit_rate: float
    sizes: tuple[SizeAdvice, ...]

    def __str__(self) -> str:
        others = [f"{size_name(each.label)} {each.hit_rate:.1%}" for each in self.sizes]
        return f"of {self.reads:,} keys read, {self.hit_rate:.1%} were near; by size: " + ", ".join(
            others
        )


def size_name(factor: str) -> str:
    """Return the words for a size, a multiple of the size there is."""
    return {"0.5": "half", "1": "as it is", "2": "twice"}.get(factor, f"{factor} times")
