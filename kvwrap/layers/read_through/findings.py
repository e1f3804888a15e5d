"""Findings and notes about the position of a read-through cache in a stack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from kvwrap.core.capability import Capabilities, Capability
from kvwrap.core.findings import Finding
from kvwrap.core.part import Part, Passage, leaves_process
from kvwrap.core.store import Store
from kvwrap.layers.read_through.cooldown import COOLDOWN
from kvwrap.layers.read_through.freshness import Freshness

PASSAGE: Final = Passage(
    read="ends here on a hit; a miss goes to the far store and fills the near one",
    write="goes to the far store, then ends the near copy",
    inner="far",
    second=Passage(
        read="finds the copy; after a miss it gets one",
        write="deletes the copy, and leaves none",
    ),
)
"""What calls do in the layer, and in its near store."""

_REACH = frozenset({Capability.PERSISTENT, Capability.SHARED})


def check_position(
    near: Store,
    freshness: Freshness,
    is_watched: bool,
    above: Sequence[Part],
    below: Sequence[Part],
    base: Store,
) -> Iterator[Finding]:
    """Yield a finding for each known mistake in the position of a read-through cache.

    Args:
        near: The near store.
        freshness: How long copies are used.
        is_watched: True if copies end when a change is told.
        above: The layers outside the cache, outermost first.
        below: The layers inside the cache, outermost first.
        base: The backend.
    """
    reach = near.capabilities & _REACH
    is_plaintext = _any_has(below, "encrypts") and not _any_has(near.layers, "encrypts")
    if is_plaintext and leaves_process(near):
        shared = Capability.SHARED in reach
        exposure = "other processes can read it" if shared else "it may outlive this process"
        yield Finding(
            "plaintext-near",
            f"encryption is inside this cache, so {near.name} gets plaintext, and {exposure}.",
            "Put read_through inside encrypt, or encrypt the near store too: "
            "read_through(stack().encrypt(keyring).over(near)).",
        )
    hides_names = _any_has(below, "hashes_keys") and not _any_has(near.layers, "hashes_keys")
    if hides_names and leaves_process(near):
        yield Finding(
            "plain-keys-in-near",
            f"the hashing of keys is inside this cache, so {near.name} holds the names of keys "
            "that the backend holds hashed.",
            "Put read_through inside hash_keys (after it in the stack), or hash the keys of the "
            "near store too: read_through(stack().hash_keys(secret).over(near)).",
        )
    is_bounded = freshness.ttl is not None or is_watched
    if not is_bounded and Capability.SHARED in base.capabilities:
        yield Finding(
            "near-without-ttl",
            f"other processes can write to {base.name}, and a near copy without a ttl may hide "
            "their writes for as long as the entry lives.",
            "Give read_through a ttl: the longest time for which an outdated value may be served.",
        )
    if near.base is not base and type(near.base) is type(base) and Capability.SHARED in reach:
        yield Finding(
            "near-not-nearer",
            f"the near and the far store are both a {base.name} that processes share, so a hit "
            "costs as much as a miss.",
            "Use a near store in this process or on this machine, for example MemoryStore.",
        )
    if any(
        second.capabilities & _REACH == reach
        for layer in below
        if "caches" in layer.traits
        for _, second in layer.second_stores
    ):
        yield Finding(
            "cached-twice",
            "another cache inside this one keeps its copies in the same kind of store: they cost "
            "twice, and an outdated value can outlive either ttl.",
            "Remove one. Order several tiers from the nearest to the farthest: memory, then a "
            "file.",
        )
    if is_watched and _any_has(below, "slides_ttl"):
        yield Finding(
            "renewals-end-copies",
            "a renewal of SlidingTTL inside this cache is a change that is told, so each one ends "
            "the copies that all processes have of the entry.",
            "Put .slide_ttl(...) before the cache, with an `at_most_every` as long as copies are "
            'to last, or use coherence="ttl".',
        )
    if _any_has(above, "retries") and not _any_has(below, "retries"):
        yield Finding(
            "retry-outside-cache",
            "the retry is outside this cache, so every caller that waits for one read of the far "
            "store retries it separately, and a stale answer ends the retries.",
            "Put retry inside read_through: then one read is retried once for all callers.",
        )


def refused_coherence(obstacle: str) -> Finding:
    """Return the finding for `coherence="watch"` where changes cannot be heard."""
    return Finding(
        "coherence-refused",
        f"coherence='watch' cannot be had: {obstacle}.",
        "Put a MemoryStore near, over a backend that can be watched; or use coherence='auto' with "
        "a ttl, the time for which others' writes then stay unseen.",
        fatal=True,
    )


def check_decoded(near: Store, above: Sequence[Part]) -> Iterator[Finding]:
    """Yield a finding if no decoded value can be kept.

    Args:
        near: The near store.
        above: The layers outside the cache, outermost first.
    """
    if near.look_up is None:
        yield Finding(
            "decoded-not-kept",
            f"decoded=True has no effect: {near.name} as near store keeps bytes, so every hit "
            "decodes them.",
            "Use a MemoryStore without layers as near store, or leave `decoded` out.",
        )
    elif _any_has(above, "encrypts") or _any_has(above, "compresses"):
        yield Finding(
            "decoded-not-kept",
            "decoded=True has no effect: a layer outside this cache changes the bytes, so every "
            "hit decodes them again.",
            "Put read_through outside compress and encrypt, or leave `decoded` out.",
        )


def describe_staleness(freshness: Freshness, far: Capabilities, watched: bool) -> Iterator[str]:
    """Yield the lines of `explain()` that say how late a write becomes visible.

    Args:
        freshness: The times of the cache.
        far: The capabilities of the far store.
        watched: True if their writes are told.
    """
    ttl, negative_ttl = freshness.ttl, freshness.negative_ttl
    if Capability.SHARED not in far:
        yield "this process's writes are seen at once"
    elif watched:
        pass
    elif ttl is None:
        yield "another process's write may stay unseen for as long as the entry lives"
    else:
        yield f"another process's write is seen after at most {max(ttl, negative_ttl or 0.0):g} s"
    if freshness.stale_if_error:
        yield (
            f"up to {freshness.stale_if_error:g} s later while the far store is unavailable, and "
            f"for up to {min(COOLDOWN, freshness.stale_if_error):g} s after that"
        )


def _any_has(parts: Sequence[Part], trait: str) -> bool:
    return any(trait in part.traits for part in parts)
