"""The figures of a journal and of what sends it."""

from __future__ import annotations

from kvwrap.core.clock import Clock
from kvwrap.core.figures import Measured, counter, gauge
from kvwrap.layers.shared.journal.journal import Journal
from kvwrap.layers.shared.journal.sender import Sender


class JournalFigures(Measured):
    """The figures of a layer with a journal.

    Args:
        journal: The journal.
        sender: What sends its changes.
        clock: The source of the time.
    """

    figures = (
        gauge("journal.pending", "{change}", "Changes accepted and not sent yet."),
        gauge("journal.age", "s", "Seconds that the oldest has waited.", merge="max"),
        counter("journal.sent", "{change}", "Changes sent.", path="sender.sent"),
        counter(
            "journal.failures",
            "{call}",
            "Calls that the backend did not answer.",
            path="sender.failures",
        ),
        counter(
            "journal.refused",
            "{change}",
            "Changes that the backend refused, set aside.",
            path="sender.refused",
        ),
        gauge(
            "journal.damaged",
            "{change}",
            "Damaged changes found on opening.",
            path="journal.damaged",
        ),
    )

    def __init__(self, journal: Journal, sender: Sender, clock: Clock) -> None:
        self.journal = journal
        self.sender = sender
        self._clock = clock
        self._made_at = clock.time()

    @property
    def pending(self) -> int:
        """Number of changes accepted and not sent yet."""
        return len(self.journal.pending)

    @property
    def age(self) -> float:
        """Seconds for which the oldest pending change has waited; 0 without one.

        Of a change that an earlier process has accepted, since its entry was made; of a removal,
        since the journal was opened.
        """
        while True:
            try:
                oldest = next(iter(self.journal.pending.values()), None)
            except RuntimeError:  # changed meanwhile, by the thread of the event loop
                continue
            if oldest is None:
                return 0.0
            made_at = self._made_at if oldest.entry is None else oldest.entry.created_at
            return max(0.0, self._clock.time() - (oldest.accepted_at or made_at))
