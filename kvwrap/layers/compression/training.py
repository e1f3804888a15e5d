"""Making a dictionary out of samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kvwrap.errors import InvalidValue
from kvwrap.layers.compression.algorithms.zstd import Zstd

MOST_FOR_SIZE = 128
"""Samples are collected up to so many times the dictionary's size, as zstd's authors advise."""

_FEWEST = 10
_LONGEST = 128 * 1024
_WAY_OUT = "Put more entries into it first, or give train() more of samples="


class Trained(NamedTuple):
    """A dictionary, and what it is worth."""

    dictionary: bytes
    ratio: float


def trained(samples: Sequence[bytes], size: int, level: int) -> Trained:
    """A zstd dictionary of at most `size` bytes, tried on samples that it was not made of.

    The algorithm is fastCover of the zstd library (after Liao, Petri, Moffat and Wirth,
    "Effective construction of relative Lempel-Ziv dictionaries").

    Raises:
        InvalidValue: The samples are too few, too small, or have nothing in common.
    """
    import zstandard

    samples = [sample[:_LONGEST] for sample in samples if sample]
    if len(samples) < _FEWEST:
        raise InvalidValue(
            f"a dictionary is trained on at least {_FEWEST} values, better on a hundred and more, "
            f"and there are {len(samples)}. {_WAY_OUT}"
        )
    # Every fourth is kept out to be tried on, unless they are few.
    tried = samples[::4] if len(samples) >= 4 * _FEWEST else samples
    learnt = [s for i, s in enumerate(samples) if i % 4] if tried is not samples else samples
    try:
        dictionary = zstandard.train_dictionary(size, list(learnt), level=level).as_bytes()
    except zstandard.ZstdError:
        raise InvalidValue(
            f"the {len(learnt)} values, of {sum(map(len, learnt))} bytes in all, are too few or "
            f"too small to train a dictionary on. {_WAY_OUT}"
        ) from None
    with_it, without = Zstd(level, dictionary), Zstd(level)
    ratio = _total(with_it, tried) / _total(without, tried)
    if ratio >= 1:
        raise InvalidValue(
            "the values have too little in common: with a dictionary they would be no smaller. "
            "Leave this collection without one"
        )
    return Trained(dictionary, ratio)


def _total(zstd: Zstd, samples: Sequence[bytes]) -> int:
    return sum(min(len(sample), len(zstd.compress(sample))) for sample in samples)
