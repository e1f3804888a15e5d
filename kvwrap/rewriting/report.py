"""What a rewrite did, and what it found the entries to need."""

from __future__ import annotations

from collections import Counter

import msgspec

from kvwrap.core import codec
from kvwrap.core.primitives import Collection

_MOST_FAILURES = 1000


class Failure(msgspec.Struct, frozen=True):
    """An entry that could not be rewritten, and why. It was left as it is."""

    collection: Collection
    key: str
    reason: str


class Report(msgspec.Struct):
    """What has been done so far, and in which forms the entries lie as things stand.

    Attributes:
        seen: Entries looked at.
        rewritten: Entries put in their present form; of a dry run, those that would be.
        current: Entries that were in it already.
        gone: Entries that were deleted, or expired, while they were being looked at.
        failed: Entries that could not be rewritten.
        failures: The first 1,000 of them, by key.
        forms: How many entries lie in each form, as codecs in hexadecimal say it.
        names: The names of the keys known of, by their ids in hexadecimal.
        primary: The names of the keys that are written with.
        dry_run: Whether nothing was written.
        complete: Whether everything in the store was looked at, up to the end.
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
        """How many entries each encryption key is needed for: by name, or `id …` if unknown."""
        found: Counter[str] = Counter()
        for step, count in self._steps(codec.ENCRYPTED):
            identity = step.hex()
            found[self.names.get(identity, f"id {identity}")] += count
        return dict(found)

    @property
    def dictionaries(self) -> dict[str, int]:
        """How many entries each compression dictionary is needed for, by its id."""
        found: Counter[str] = Counter()
        for step, count in self._steps(codec.ZSTD_DICTIONARY):
            found[step.hex()] += count
        return dict(found)

    @property
    def unencrypted(self) -> int:
        """How many entries no key is needed for."""
        return sum(
            count
            for form, count in self.forms.items()
            if not any(step[0] == codec.ENCRYPTED for step in codec.steps(bytes.fromhex(form)))
        )

    @property
    def retirable(self) -> list[str]:
        """Keys that nothing needs, if everything was looked at; empty if that is not known.

        A process that still writes with such a key makes it needed again: promote first,
        everywhere.
        """
        if not self.complete or self.failed:
            return []
        needed = {*self.keys, *self.primary}
        return [name for name in self.names.values() if name not in needed]

    def fail(self, collection: Collection, key: str, reason: str) -> None:
        """Count an entry as failed."""
        self.failed += 1
        if len(self.failures) < _MOST_FAILURES:
            self.failures.append(Failure(collection, key, reason))

    def lies(self, steps: bytes) -> None:
        """Count an entry as lying in this form."""
        form = steps.hex()
        self.forms[form] = self.forms.get(form, 0) + 1

    def _steps(self, tag: int) -> list[tuple[bytes, int]]:
        return [
            (step[1:], count)
            for form, count in self.forms.items()
            for step in codec.steps(bytes.fromhex(form))
            if step[0] == tag
        ]

    def __str__(self) -> str:
        done = "would be rewritten" if self.dry_run else "rewritten"
        counts = {
            "seen": self.seen,
            done: self.rewritten,
            "current": self.current,
            "gone meanwhile": self.gone,
            "failed": self.failed,
        }
        lines = [
            "entries       " + ", ".join(f"{count:,} {what}" for what, count in counts.items())
        ]
        for title, needed in (("keys", self.keys), ("dictionaries", self.dictionaries)):
            if needed:
                each = (f"{name}: {count:,}" for name, count in sorted(needed.items()))
                lines.append(f"{title:<13} {', '.join(each)}")
        if self.names and self.unencrypted:
            lines.append(f"unencrypted   {self.unencrypted:,}")
        if self.retirable:
            lines.append(f"not needed    {', '.join(self.retirable)}")
        lines += [
            f"failed        {failure.key!r} in {failure.collection!r}: {failure.reason}"
            for failure in self.failures[:20]
        ]
        if not self.complete:
            lines.append("not complete  part of the store was not looked at")
        return "\n".join(lines)
