"""Copies of large batches give other tasks turns."""

from __future__ import annotations

import pytest

from kvwrap import NullStore
from kvwrap.core.entry import Entry
from kvwrap.core.turns import SLICE
from kvwrap.layers.fallback.mirror import Mirror
from kvwrap.layers.shared.guard import Guard
from kvwrap.testing import ManualClock
from tests.layers.faulty import numbered_keys
from tests.turns import turns_during


@pytest.mark.parametrize("entry", [Entry(b"1", b"j", 0.0, None, 1), None])
async def test_a_large_batch_is_copied_with_turns_for_others(
    clock: ManualClock, entry: Entry | None
) -> None:
    guard = Guard(clock, failures=1, open_for=1.0, owner="Fallback", role="other")
    mirror = Mirror(NullStore(), guard, owner="Fallback")
    count = 4 * SLICE
    names = numbered_keys(count)
    assert await turns_during(mirror.copy(None, names, [entry] * count, [True] * count)) >= 3
