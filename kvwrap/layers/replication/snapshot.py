"""Counts of a `Replication` layer."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from kvwrap.core.figures import Measured, counter


class ReplicationSnapshot(Measured, msgspec.Struct, frozen=True):
    """Counts of a `Replication` layer since it was put over its store.

    Attributes:
        repaired: Number of copies replaced by a newer one.
        failures: Number of failed calls, by the replica's name.
    """

    figures: ClassVar = (
        counter("replication.repaired", "{copy}", "Copies replaced by a newer one."),
        counter(
            "replication.failures", "{call}", "Operations of a replica that failed.", "replica"
        ),
    )
    repaired: int
    failures: dict[str, int]
