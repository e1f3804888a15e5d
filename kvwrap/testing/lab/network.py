"""The network of a simulation: how long messages take."""

from __future__ import annotations

import random

import msgspec


class Network(msgspec.Struct):
    """How long messages take, and what becomes of those that tell of changes.

    Attributes:
        rng: The source of randomness.
        longest: The longest that a message takes, in seconds; most take less.
        late: The share of messages that take up to ten times as long.
        lost: The share of changes that are not told, although the link seems to work.
        doubled: The share of changes that are told twice.
    """

    rng: random.Random
    longest: float = 0.02
    late: float = 0.05
    lost: float = 0.0
    doubled: float = 0.05

    def delay(self) -> float:
        """Return the seconds that the next message takes."""
        longest = self.longest * (10 if self.rng.random() < self.late else 1)
        return longest * self.rng.random() ** 2

    def copies(self) -> int:
        """Return how often the next change is told."""
        draw = self.rng.random()
        if draw < self.lost:
            return 0
        return 2 if draw < self.lost + self.doubled else 1
