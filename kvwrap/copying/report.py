"""The report of a copy."""

from __future__ import annotations

import msgspec

from kvwrap.core.primitives import Collection
from kvwrap.core.text import printable
from kvwrap.rewriting.report import Failures, shown, title_of


class CopyCounts(msgspec.Struct):
    """The results for one collection.

    Attributes:
        seen: Number of keys of the source.
        copied: Number of entries written to the target.
    """

    seen: int = 0
    copied: int = 0


class CopyReport(Failures):
    """The results of a copy so far.

    Attributes:
        seen: Number of keys of the source.
        copied: Number of entries that were written to the target, and read back there equal.
        same: Number of entries that the target had already, with an equal value.
        kept: Number of keys under which the target has another value, which was kept.
        gone: Number of entries that were deleted, or expired, in the meantime.
        left: Number of values in the source's backend, at the end, that are no entries: of types
            that its store cannot read, or under names that are no keys. They are not in `seen`.
        counts: The results for each collection, with "" for the default one.
    """

    seen: int = 0
    copied: int = 0
    same: int = 0
    kept: int = 0
    gone: int = 0
    left: int = 0
    counts: dict[str, CopyCounts] = msgspec.field(default_factory=dict)

    @property
    def collections(self) -> dict[Collection, CopyCounts]:
        """The results for each collection that was gone through."""
        return {name or None: counts for name, counts in self.counts.items()}

    def counts_of(self, collection: Collection) -> CopyCounts:
        """Return the counts of a collection, which are zero at first."""
        return self.counts.setdefault(collection or "", CopyCounts())

    def __str__(self) -> str:
        entries = {
            "seen": self.seen,
            "copied": self.copied,
            "same": self.same,
            "kept as they are in the target": self.kept,
            "gone meanwhile": self.gone,
            "left in the source": self.left,
            "failed": self.failed,
        }
        always = ("seen", "copied")
        counts = ", ".join(
            f"{count:,} {label}" for label, count in entries.items() if count or label in always
        )
        titles = [
            f"{title_of(name)}: {counts.seen:,} seen, {counts.copied:,} copied"
            for name, counts in self.collections.items()
        ]
        return printable(
            "\n".join([f"entries       {counts}", *shown("in", titles), *self.failed_lines()])
        )
