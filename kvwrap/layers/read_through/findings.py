"""What can be said for and against a nearer store, given where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kvwrap.core.capability import Capability
from kvwrap.core.findings import Finding
from kvwrap.core.part import Part
from kvwrap.core.store import Store
from kvwrap.layers.read_through.freshness import Freshness

_REACH = frozenset({Capability.PERSISTENT, Capability.SHARED})


def findings_of(
    near: Store,
    ttl: float | None,
    above: Sequence[Part],
    below: Sequence[Part],
    base: Store,
) -> Iterator[Finding]:
    """The known mistakes of a near store's place."""
    reach = near.capabilities & _REACH
    if reach and _any(below, "encrypts") and not _any(near.layers, "encrypts"):
        where = "other processes can read it" if Capability.SHARED in reach else "it is kept"
        yield Finding(
            "plaintext-near",
            f"encryption is further in than this cache, so {near.name} gets plaintext, and "
            f"{where}.",
            "Put read_through inside encrypt, or put encryption over the near store as well: "
            "read_through(stack().encrypt(keyring).over(near)).",
        )
    if ttl is None and Capability.SHARED in base.capabilities:
        yield Finding(
            "near-without-ttl",
            f"other processes can write to {base.name}, and a near copy without a ttl may hide "
            "what they write for as long as the entry lives.",
            "Give read_through a ttl: the longest that an outdated value may be served.",
        )
    if near.base is not base and type(near.base) is type(base) and Capability.SHARED in reach:
        yield Finding(
            "near-not-nearer",
            f"near and far store are both a {base.name} that processes share, so a hit costs what "
            "a miss would.",
            "Take a store in this process or on this machine as the near one, MemoryStore say.",
        )
    if any(
        second.capabilities & _REACH == reach
        for layer in below
        if "caches" in layer.traits
        for _, second in layer.second_stores
    ):
        yield Finding(
            "cached-twice",
            "another cache further in keeps its copies in the same kind of place: they cost twice, "
            "and an outdated value can outlive either ttl.",
            "Leave one; several tiers make sense from the nearest to the farthest, memory then a "
            "file.",
        )
    if _any(above, "retries") and not _any(below, "retries"):
        yield Finding(
            "retry-outside-cache",
            "the retry is outside this cache, so every caller that waits for one read of the far "
            "store retries on its own, and a stale answer ends the retries.",
            "Put retry inside read_through: then one read is retried once for all.",
        )


def noted(lifetimes: Freshness, shared: bool) -> Iterator[str]:
    """How late a write of somebody else is seen, by `explain()`."""
    ttl, negative = lifetimes.ttl, lifetimes.negative
    if not shared:
        yield "this process's writes are seen at once"
    elif ttl is None:
        yield "another process's write may stay unseen for as long as the entry lives"
    else:
        yield f"another process's write is seen after at most {max(ttl, negative or 0.0):g} s"
    if lifetimes.stale:
        yield f"up to {lifetimes.stale:g} s later while the far store is unavailable"


def _any(layers: Sequence[Part], trait: str) -> bool:
    return any(trait in layer.traits for layer in layers)
