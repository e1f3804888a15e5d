"""Choosing which values of a collection to learn from."""

from __future__ import annotations

import random

from kvwrap.core.paging import pages
from kvwrap.core.primitives import Collection, Primitives
from kvwrap.layers.compression.training import MOST_FOR_SIZE

_MOST = 4_000
_AT_ONCE = 100


async def sampled(
    part: Primitives, collection: Collection, size: int, rng: random.Random
) -> list[bytes]:
    """Serialized values for a dictionary of this size, each as likely to be among them.

    All keys are listed, and few values read: enough, and no more than fit memory easily.
    """
    keys = await _chosen(part, collection, rng)
    rng.shuffle(keys)
    samples: list[bytes] = []
    missing = MOST_FOR_SIZE * size
    while keys and missing > 0:
        batch, keys = keys[:_AT_ONCE], keys[_AT_ONCE:]
        for entry in await part.read(collection, batch):
            if entry is not None and missing > 0:
                samples.append(entry.body)
                missing -= len(entry.body)
    return samples


async def _chosen(part: Primitives, collection: Collection, rng: random.Random) -> list[str]:
    """Keys drawn evenly from all pages (reservoir sampling; Vitter's algorithm R)."""
    chosen: list[str] = []
    seen = 0
    async for page in pages(part, collection):
        for key in page.keys:
            seen += 1
            if len(chosen) < _MOST:
                chosen.append(key)
            elif (place := rng.randrange(seen)) < _MOST:
                chosen[place] = key
    return chosen
