"""Choosing the values of a collection that a dictionary is trained on."""

from __future__ import annotations

import random

from kvwrap.core.paging import pages
from kvwrap.core.primitives import Collection, Primitives
from kvwrap.layers.compression.training import SAMPLES_TO_SIZE

_MAX_KEYS = 4_000
_BATCH_SIZE = 100


async def sample_values(
    part: Primitives, collection: Collection, size: int, rng: random.Random
) -> list[bytes]:
    """Read serialized values for a dictionary of this size, chosen at random.

    Each value of the collection is equally likely to be chosen. All keys are listed, but only as
    many values are read as the training needs, so that they fit in memory.
    """
    keys = await _choose_keys(part, collection, rng)
    rng.shuffle(keys)
    samples: list[bytes] = []
    missing_bytes = SAMPLES_TO_SIZE * size
    while keys and missing_bytes > 0:
        batch, keys = keys[:_BATCH_SIZE], keys[_BATCH_SIZE:]
        for entry in await part.read(collection, batch):
            if entry is not None and missing_bytes > 0:
                samples.append(entry.body)
                missing_bytes -= len(entry.body)
    return samples


async def _choose_keys(part: Primitives, collection: Collection, rng: random.Random) -> list[str]:
    """Choose keys uniformly from all pages (reservoir sampling; Vitter's algorithm R)."""
    chosen: list[str] = []
    seen = 0
    async for page in pages(part, collection):
        for key in page.keys:
            seen += 1
            if len(chosen) < _MAX_KEYS:
                chosen.append(key)
            elif (index := rng.randrange(seen)) < _MAX_KEYS:
                chosen[index] = key
    return chosen
