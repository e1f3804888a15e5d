"""The report of a rewrite: what was done, and which keys and dictionaries entries need."""

from __future__ import annotations

from collections import Counter

import msgspec

from kvwrap.core import codec
from kvwrap.core.primitives import Collection

_MAX_FAILURES = 1000
_MAX_FAILURES_SHOWN = 20


class Failure(msgspec.Struct, frozen=True):
    """An entry that could not be rewritten, and why. It was left unchanged."""

    collection: Collection
    key: str
    reason: str


class Report(msgspec.Struct):
    """The results of a rewrite so far, and the forms that the entries have at present.

    Attributes:
        seen: Number of entries examined.
        rewritten: Number of entries written in their current form; for a dry run, number of
            entries that would be.
        current: Number of entries that already had their current form.
        gone: Number of entries that were deleted, or expired, in the meantime.
        failed: Number of entries that could not be rewritten.
        failures: The first 1,000 of these, with collection, key and reason.
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
    failed: int = 0
    failures: list[Failure] = msgspec.field(default_factory=list)
    forms: dict[str, int] = msgspec.field(default_factory=dict)
    names: dict[str, str] = msgspec.field(default_factory=dict)
    primary: list[str] = msgspec.field(default_factory=list)
    dry_run: bool = False
    complete: bool = False

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

    def count_failure(self, collection: Collection, key: str, reason: str) -> None:
        """Count an entry as failed."""
        self.failed += 1
        if len(self.failures) < _MAX_FAILURES:
            self.failures.append(Failure(collection, key, reason))

    def count_form(self, entry_codec: bytes) -> None:
        """Count an entry with this codec at rest."""
        form = entry_codec.hex()
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
        lines = [
            "entries       " + ", ".join(f"{count:,} {label}" for label, count in counts.items())
        ]
        for title, needed in (("keys", self.keys), ("dictionaries", self.dictionaries)):
            if needed:
                items = (f"{name}: {count:,}" for name, count in sorted(needed.items()))
                lines.append(f"{title:<13} {', '.join(items)}")
        if self.names and self.unencrypted:
            lines.append(f"unencrypted   {self.unencrypted:,}")
        if self.retirable:
            lines.append(f"not needed    {', '.join(self.retirable)}")
        lines += [
            f"failed        {failure.key!r} in {failure.collection!r}: {failure.reason}"
            for failure in self.failures[:_MAX_FAILURES_SHOWN]
        ]
        if not self.complete:
            lines.append("not complete  part of the store was not examined")
        return "\n".join(lines)
