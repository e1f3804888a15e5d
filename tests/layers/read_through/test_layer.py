"""Arguments, findings, notes and counts of the layer."""

from __future__ import annotations

from typing import Any

import pytest

from kvwrap import (
    ConfigurationError,
    InvalidTTL,
    MemoryStore,
    Passthrough,
    ReadThrough,
    StackWarning,
    Statistics,
    stack,
)
from kvwrap.layers.read_through.counts import TierCounts
from tests.layers.read_through.stores import Far, Persistent, Shared, counts, over


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"ttl": 0}, InvalidTTL),
        ({"ttl": float("nan")}, InvalidTTL),
        ({"negative_ttl": -1}, InvalidTTL),
        ({"stale_if_error": "5"}, InvalidTTL),
        ({"refresh_ahead": 0}, ConfigurationError),
        ({"refresh_ahead": 1}, ConfigurationError),
        ({"refresh_ahead": 1.5}, ConfigurationError),
        ({"jitter": 1}, ConfigurationError),
        ({"jitter": -0.1}, ConfigurationError),
        ({"rng": 7}, ConfigurationError),
        ({"decoded": 1}, ConfigurationError),
        ({"coherence": "both"}, ConfigurationError),
        ({"bound": 0}, ConfigurationError),
        ({"bound": "1"}, ConfigurationError),
        ({"near": 7}, ConfigurationError),
    ],
)
def test_invalid_arguments_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    (name,) = options
    with pytest.raises(error, match="a ttl" if name == "ttl" else f"`{name}`"):
        ReadThrough(**{"near": MemoryStore, **options})


def test_a_near_store_serves_one_stack(far: Far) -> None:
    near = MemoryStore()
    over(far, near)
    with pytest.raises(ConfigurationError, match="factory"):
        over(Far(), near)


async def test_hits_and_misses_of_each_tier(far: Far) -> None:
    tiers = stack().read_through(lambda: MemoryStore(clock=far.clock), ttl=1)
    tiers = tiers.statistics(name="far").silence("statistics-inside-cache")
    store = tiers.over(far)
    await store.put("a", 1)
    for _ in range(4):
        await store.get("a")
    await store.get_many(["a", "b", "b"])
    assert counts(store) == TierCounts(
        near_hits=4, misses=2, far_reads=2, far_keys=2, fills=1, invalidated=1
    )
    assert counts(store).hit_rate == 4 / 6
    assert store.find(Statistics)


async def test_a_snapshot_does_not_change(far: Far) -> None:
    store = over(far)
    before = counts(store)
    await store.get("a")
    assert (before.misses, counts(store).misses) == (0, 1)
    assert before.hit_rate == 0.0


@pytest.mark.parametrize(
    ("done", "rate"),
    [
        ({}, 0.0),
        ({"misses": 3}, 0.0),
        ({"near_hits": 3}, 1.0),
        ({"near_hits": 1, "negative_hits": 1, "stale_served": 1, "misses": 3}, 0.5),
    ],
)
def test_the_hit_rate_is_the_share_of_reads_that_did_not_wait(
    done: dict[str, int], rate: float
) -> None:
    assert TierCounts(**done).hit_rate == rate


class Marked(Passthrough):
    """A layer that has one trait."""

    def __init__(self, trait: str) -> None:
        self.trait = trait

    @property
    def traits(self) -> frozenset[str]:  # type: ignore[override]  # one per instance, here
        return frozenset({self.trait})


NEAR = ReadThrough(MemoryStore, ttl=5)
PERSISTENT = ReadThrough(Persistent, ttl=5)
ENCRYPTS, RETRIES = Marked("encrypts"), Marked("retries")
ENCRYPTED_NEAR = ReadThrough(lambda: ENCRYPTS.over(Persistent()), ttl=5)


@pytest.mark.parametrize(
    ("code", "wrong", "right"),
    [
        ("plaintext-near", stack(PERSISTENT, ENCRYPTS), stack(ENCRYPTS, PERSISTENT)),
        ("plaintext-near", stack(PERSISTENT, ENCRYPTS), stack(NEAR, ENCRYPTS)),
        ("plaintext-near", stack(PERSISTENT, ENCRYPTS), stack(ENCRYPTED_NEAR, ENCRYPTS)),
        ("near-without-ttl", stack(ReadThrough(MemoryStore)), stack(NEAR)),
        ("near-not-nearer", stack(ReadThrough(Shared, ttl=5)), stack(NEAR)),
        ("cached-twice", stack(NEAR, NEAR), stack(NEAR, PERSISTENT)),
        ("retry-outside-cache", stack(RETRIES, NEAR), stack(NEAR, RETRIES)),
    ],
)
def test_findings(code: str, wrong: Any, right: Any) -> None:
    with pytest.warns(StackWarning, match=f"^{code}:"):
        store = wrong.over(Shared())
    assert [finding.code for finding in store.findings] == [code]
    assert code in store.explain()
    assert not right.over(Shared()).findings
    assert not wrong.silence(code).over(Shared()).findings


def test_explain_states_the_bound() -> None:
    shared = stack().read_through(MemoryStore, ttl=30, negative_ttl=5, stale_if_error=60)
    text = shared.over(Shared()).explain()
    assert "another process's write is seen after at most 30 s" in text
    assert "60 s later while the far store is unavailable" in text
    assert "seen at once" in stack().read_through(MemoryStore).over(MemoryStore()).explain()


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.get("a"),
        lambda store: store.get_many(["a", "b"]),
        lambda store: store.put("a", 1),
        lambda store: store.delete("a"),
        lambda store: store.expire("a", 5),
        lambda store: store.delete_where(prefix="a"),
        lambda store: store.destroy_collection("a"),
        lambda store: store.destroy(),
        lambda store: store.find(ReadThrough).invalidate("a"),
        lambda store: store.find(ReadThrough).clear(),
    ],
)
async def test_the_first_call_opens_the_layer(far: Far, call: Any) -> None:
    store = over(far)
    await call(store)
    assert store.find(ReadThrough).is_open
    await store.close()
    assert store.find(ReadThrough).is_closed
