"""What `store.lock` has done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kvwrap.core.figures import Figure, Measured, counter, gauge


@dataclass(slots=True)  # whose attributes are set in half of the time that those of a Struct take
class LockCounts(Measured):
    """What `lock` of a store object has done so far.

    Attributes:
        acquired: Number of times that a lock was acquired.
        held: Number of locks that are held now.
        waiting: Number of blocks that wait for a lock, or ask for it.
        wait_seconds: Seconds for which blocks have waited until they acquired a lock, together.
        timeouts: Number of blocks that did not get the lock within `wait`.
        lost: Number of locks that were lost before their block ended.
    """

    figures: ClassVar[tuple[Figure, ...]] = (
        counter("lock.acquired", "{lock}", "Locks acquired."),
        gauge("lock.held", "{lock}", "Locks held now."),
        gauge("lock.waiting", "{block}", "Blocks that wait for a lock."),
        counter("lock.wait", "s", "Seconds waited for locks acquired.", path="wait_seconds"),
        counter("lock.timeouts", "{block}", "Blocks that did not get the lock in time."),
        counter("lock.lost", "{lock}", "Locks lost before their block ended."),
    )
    acquired: int = 0
    held: int = 0
    waiting: int = 0
    wait_seconds: float = 0.0
    timeouts: int = 0
    lost: int = 0
