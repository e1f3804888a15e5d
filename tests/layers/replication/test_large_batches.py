"""Large batches of a replicated store give other tasks turns, whatever the replicas do."""

from __future__ import annotations

from kvwrap import NullStore, stack
from kvwrap.core.turns import SLICE
from kvwrap.layers.base import JSON, Entry, codec, new_version
from tests.turns import turns_during

KEYS = [f"key:{number}" for number in range(3 * SLICE)]


async def test_every_pass_over_a_batch_gives_turns() -> None:
    store = stack().replicate({"1": NullStore}).over(NullStore())
    body = JSON.dumps(1)
    entries = [Entry(body, codec.JSON, 0.0, None, new_version()) for _ in KEYS]
    assert await turns_during(store.read(None, KEYS)) >= 2
    # The locks of the keys give 6 in each, and the replicas another 6.
    assert await turns_during(store.write(None, KEYS, entries)) >= 16
    assert await turns_during(store.remove(None, KEYS)) >= 20
