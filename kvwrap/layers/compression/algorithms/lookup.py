"""The algorithms that there are, by name."""

from __future__ import annotations

from kvwrap.core.validation import suggest
from kvwrap.errors import ConfigurationError
from kvwrap.layers.compression.algorithms.base import Algorithm
from kvwrap.layers.compression.algorithms.brotli import Brotli
from kvwrap.layers.compression.algorithms.gzip import Gzip
from kvwrap.layers.compression.algorithms.lz4 import LZ4
from kvwrap.layers.compression.algorithms.zstd import Zstd

_KNOWN: dict[str, type[Algorithm]] = {each.name: each for each in (Zstd, Gzip, LZ4, Brotli)}

NAMES = {each.step: name for name, each in _KNOWN.items()}
"""Names of algorithms by their step in a codec."""


def algorithm(name: str, level: int | None = None) -> Algorithm:
    """The algorithm of this name.

    Raises:
        ConfigurationError: There is none, it has no such level, or its package is missing.
    """
    if name not in list(_KNOWN):
        raise ConfigurationError(f"no compression is called {name!r}: {suggest(str(name), _KNOWN)}")
    levels = _KNOWN[name].levels
    if level is not None and (type(level) is not int or level not in levels):
        raise ConfigurationError(
            f"a level of {name} is a whole number from {levels[0]} to {levels[-1]}, not {level!r}"
        )
    return _KNOWN[name](level)
