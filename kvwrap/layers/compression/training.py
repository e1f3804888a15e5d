"""Training a dictionary on samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kvwrap.errors import InvalidValue
from kvwrap.layers.compression.algorithms.zstd import Zstd

SAMPLES_TO_SIZE = 128
"""Ratio of the bytes of samples collected to the dictionary's size, as zstd's authors advise."""

_MIN_SAMPLES = 10
_MAX_SAMPLE_SIZE = 128 * 1024
_HINT = "Put more entries into the collection first, or pass more samples= to train()"


class TrainedDictionary(NamedTuple):
    """A dictionary, with the size of values compressed with it divided by that without it."""

    dictionary: bytes
    ratio: float


def train_dictionary(samples: Sequence[bytes], size: int, level: int) -> TrainedDictionary:
    """Train a zstd dictionary of at most `size` bytes, and measure what it saves.

    It is measured on samples that it was not trained on, if there are at least 40.

    The algorithm is fastCover of the zstd library (after Liao, Petri, Moffat and Wirth,
    "Effective construction of relative Lempel-Ziv dictionaries").

    Raises:
        InvalidValue: The samples are too few, too small, or have nothing in common.
    """
    import zstandard

    samples = [sample[:_MAX_SAMPLE_SIZE] for sample in samples if sample]
    if len(samples) < _MIN_SAMPLES:
        raise InvalidValue(
            f"training a dictionary requires at least {_MIN_SAMPLES} values, better 100 or more; "
            f"got {len(samples)}. {_HINT}"
        )
    training = evaluation = samples
    if len(samples) >= 4 * _MIN_SAMPLES:
        # Every fourth sample is reserved for the measurement.
        evaluation = samples[::4]
        training = [sample for index, sample in enumerate(samples) if index % 4]
    try:
        dictionary = zstandard.train_dictionary(size, list(training), level=level).as_bytes()
    except zstandard.ZstdError:
        raise InvalidValue(
            f"the {len(training)} values, {sum(map(len, training))} bytes in total, are too few or "
            f"too small to train a dictionary on. {_HINT}"
        ) from None
    with_dictionary, without = Zstd(level, dictionary), Zstd(level)
    ratio = _total_size(with_dictionary, evaluation) / _total_size(without, evaluation)
    if ratio >= 1:
        raise InvalidValue(
            "the values have too little in common: a dictionary would not make them smaller. "
            "Leave this collection without one"
        )
    return TrainedDictionary(dictionary, ratio)


def _total_size(zstd: Zstd, samples: Sequence[bytes]) -> int:
    return sum(min(len(sample), len(zstd.compress(sample))) for sample in samples)
