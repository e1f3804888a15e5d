"""The report of a rewrite: what was done, and which keys and dictionaries entries need."""

from __future__ import annotations

from collections import Counter

import msgspec

from kvwrap.core import codec
from kvwrap.core.primitives import Collection
from kvwrap.core.text import printable

_MAX_FAILURES = 1000
_MAX_SHOWN = 20
_EXAMPLES = 3


class Failure(msgspec.Struct, frozen=True):
    """An entry that could not be rewritten, and why. It was left unchanged."""

    collection: Collection
    key: str
    reason: str


class CollectionCounts(msgspec.Struct):
    """The results for one collection.

    Attributes:
        seen: Number of entries examined.
        rewritten: Number of entries written in their current form, or that would be.
    """

    seen: int = 0
    rewritten: int = 0


class Failures(msgspec.Struct):
    """The entries that could not be handled.

    Attributes:
        failed: Their number.
        failures: The first 1,000 of them, with collection, key and reason.
        reasons: Their number for each reason; after 1,000 reasons, for the others.
    """

    failed: int = 0
    failures: list[Failure] = msgspec.field(default_factory=list)
    reasons: dict[str, int] = msgspec.field(default_factory=dict)

    def count_failure(self, collection: Collection, key: str, reason: str) -> None:
        """Count an entry as failed."""
        self.failed += 1
        if reason not in self.reasons and len(self.reasons) >= _MAX_FAILURES:
            reason = "other reasons"
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        if len(self.failures) < _MAX_FAILURES:
            self.failures.append(Failure(collection, key, reason))

    def failed_lines(self) -> list[str]:
        """Return a line for each reason, with examples."""
        return shown("failed", [self._failure_line(reason) for reason in self.reasons])

    def _failure_line(self, reason: str) -> str:
        """Return one line for all failures of a reason."""
        count = self.reasons[reason]
        examples = [each for each in self.failures if each.reason == reason][:_EXAMPLES]
        names = [f"{each.key!r} in {title_of(each.collection)}" for each in examples]
        more = [f"{count - len(names):,} more"] if names and count > len(names) else []
        title = ", ".join((*names, *more)) or f"{count:,}"
        return f"{count:,}: {reason} ({title})" if count > 1 else f"{title}: {reason}"


class Report(Failures):
    """The results of a rewrite so far, and the forms that the entries have at present.

    Attributes:
        seen: Number of entries examined.
        rewritten: Number of entries written in their current form; for a dry run, number of
            entries that would be.
        current: Number of entries that already had their current form.
        gone: Number of entries that were deleted, or expired, in the meantime.
        foreign: Number of rewritten values that another program wrote, and can no longer read.
        counts: The results for each collection, with "" for the default one.
        forms: Number of entries in each form; a form is a codec in hexadecimal.
        names: The names of the known encryption keys, by their ids in hexadecimal.
        primary: The names of the keys that entries are sealed with.
        dry_run: True if nothing was written.
        complete: True if everything in the store was examined, up to the end.
    """

    seen: int = 0
    rewritten: int = 0
    current: int = 0
    gone: int = 0
    foreign: int = 0
    counts: dict[str, CollectionCounts] = msgspec.field(default_factory=dict)
    forms: dict[str, int] = msgspec.field(default_factory=dict)
    names: dict[str, str] = msgspec.field(default_factory=dict)
    primary: list[str] = msgspec.field(default_factory=list)
    dry_run: bool = False
    complete: bool = False

    def __post_init__(self) -> None:
        for form in self.forms:
            bytes.fromhex(form)  # of a state that was read: its ValueError refuses it

    @property
    def collections(self) -> dict[Collection, CollectionCounts]:
        """The results for each collection that was gone over."""
        return {name or None: counts for name, counts in self.counts.items()}

    @property
    def keys(self) -> dict[str, int]:
        """Number of entries that need each encryption key: by name, or `id …` if unknown."""
        counts: Counter[str] = Counter()
        for argument, count in self._step_counts(codec.ENCRYPTED):
            key_id = argument.hex()
            counts[self.names.get(key_id, f"id {key_id}")] += count
        return dict(counts)

    @property
    def dictionaries(self) -> dict[str, int]:
        """Number of entries that need each compression dictionary, by its id."""
        counts: Counter[str] = Counter()
        for argument, count in self._step_counts(codec.ZSTD_DICTIONARY):
            counts[argument.hex()] += count
        return dict(counts)

    @property
    def unencrypted(self) -> int:
        """Number of entries that need no encryption key."""
        return sum(
            count
            for form, count in self.forms.items()
            if not any(step[0] == codec.ENCRYPTED for step in codec.steps(bytes.fromhex(form)))
        )

    @property
    def retirable(self) -> list[str]:
        """Keys that no entry needs. Empty unless everything was examined without a failure.

        A process that still writes with such a key makes it needed again: first promote
        another key everywhere.
        """
        if not self.complete or self.failed:
            return []
        needed = {*self.keys, *self.primary}
        return [name for name in self.names.values() if name not in needed]

    def counts_of(self, collection: Collection) -> CollectionCounts:
        """Return the counts of a collection, which are zero at first."""
        return self.counts.setdefault(collection or "", CollectionCounts())

    def count_form(self, entry_codec: bytes) -> None:
        """Count an entry with this codec at rest. Annotations are not part of a form."""
        steps = [step for step in codec.steps(entry_codec) if step[0] != codec.ANNOTATION]
        form = b"".join(steps).hex()
        self.forms[form] = self.forms.get(form, 0) + 1

    def _step_counts(self, tag: int) -> list[tuple[bytes, int]]:
        """Return the arguments of the steps of this kind, each with its number of entries."""
        return [
            (step[1:], count)
            for form, count in self.forms.items()
            for step in codec.steps(bytes.fromhex(form))
            if step[0] == tag
        ]

    def __str__(self) -> str:
        rewritten = "would be rewritten" if self.dry_run else "rewritten"
        counts = {
            "seen": self.seen,
            rewritten: self.rewritten,
            "current": self.current,
            "gone meanwhile": self.gone,
            "failed": self.failed,
        }
        always = ("seen", rewritten)
        told = [f"{count:,} {label}" for label, count in counts.items() if count or label in always]
        lines = ["entries       " + ", ".join(told)]
        for title, needed in (("keys", self.keys), ("dictionaries", self.dictionaries)):
            if needed:
                items = (f"{name}: {count:,}" for name, count in sorted(needed.items()))
                lines.append(f"{title:<13} {', '.join(items)}")
        if self.names and self.unencrypted:
            lines.append(f"unencrypted   {self.unencrypted:,}")
        if self.retirable:
            lines.append(f"not needed    {', '.join(self.retirable)}")
        if self.foreign:
            lines.append(f"foreign       {self.foreign:,} values of other programs {rewritten}")
        lines += shown(
            "in", [_collection_line(*item, rewritten) for item in self.collections.items()]
        )
        lines += self.failed_lines()
        if not self.complete:
            lines.append("not complete  part of the store was not examined")
        return printable("\n".join(lines))


def _collection_line(collection: Collection, counts: CollectionCounts, rewritten: str) -> str:
    title = title_of(collection)
    if not counts.seen:
        return f"{title}: nothing found"
    return f"{title}: {counts.seen:,} seen, {counts.rewritten:,} {rewritten}"


def title_of(collection: Collection) -> str:
    """Return how a collection is called in reports."""
    return "the default collection" if collection is None else repr(collection)


def shown(title: str, lines: list[str]) -> list[str]:
    """Return the first lines with their title, and how many there are besides."""
    shown = [f"{title:<13} {line}" for line in lines[:_MAX_SHOWN]]
    more = len(lines) - len(shown)
    return [*shown, f"{title:<13} {more:,} more lines like these"] if more else shown
