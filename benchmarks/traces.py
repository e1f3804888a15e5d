"""Access traces on which the hit rates of eviction policies are compared.

200,000 accesses to 10,000 keys, for a cache of 1,000 entries.
"""

from __future__ import annotations

import random
from itertools import accumulate

ACCESSES = 200_000
KEYS = 10_000
ENTRIES = 1_000

_SCANNED = 1_000_000  # above every other key
_SHIFT_AFTER, _SHIFT = 30_000, 700
_LOOP = 1_500


def traces() -> dict[str, list[int]]:
    """Return the keys of each trace, by its name.

    - zipf: the key at rank r is accessed in proportion to 1 / r.
    - scan: the same, with every fourth access to a key that never occurs again.
    - drift: the same, but after every 30,000 accesses other keys are popular.
    - loop: the same, with every second access to the next of 750 keys, over and over.
    """
    rng = random.Random(3)
    by_rank = list(range(KEYS))
    rng.shuffle(by_rank)
    popularity = list(accumulate(1 / rank for rank in range(1, KEYS + 1)))
    zipf = rng.choices(by_rank, cum_weights=popularity, k=ACCESSES)
    return {
        "zipf": zipf,
        "scan": [key if at % 4 else _SCANNED + at for at, key in enumerate(zipf)],
        "drift": [(key + at // _SHIFT_AFTER * _SHIFT) % KEYS for at, key in enumerate(zipf)],
        "loop": [at % _LOOP if at % 2 else key for at, key in enumerate(zipf)],
    }
