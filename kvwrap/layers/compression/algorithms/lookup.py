"""The compression algorithms by name."""

from __future__ import annotations

from kvwrap.core.validation import suggest
from kvwrap.errors import ConfigurationError
from kvwrap.layers.compression.algorithms.base import Algorithm
from kvwrap.layers.compression.algorithms.brotli import Brotli
from kvwrap.layers.compression.algorithms.gzip import Gzip
from kvwrap.layers.compression.algorithms.lz4 import LZ4
from kvwrap.layers.compression.algorithms.zstd import Zstd

_CLASSES: dict[str, type[Algorithm]] = {cls.name: cls for cls in (Zstd, Gzip, LZ4, Brotli)}

NAMES = {cls.step: name for name, cls in _CLASSES.items()}
"""Names of algorithms by their step in a codec."""


def make_algorithm(name: str, level: int | None = None) -> Algorithm:
    """Create the algorithm of this name.

    Raises:
        ConfigurationError: No algorithm has this name, it has no such level, or its package is
            not installed.
    """
    if name not in list(_CLASSES):
        raise ConfigurationError(
            f"`algorithm` must be the name of a compression algorithm; got {name!r}: "
            f"{suggest(str(name), _CLASSES)}"
        )
    levels = _CLASSES[name].levels
    if level is not None and (type(level) is not int or level not in levels):
        raise ConfigurationError(
            f"the level of {name} must be an integer from {levels[0]} to {levels[-1]}; "
            f"got {level!r}"
        )
    return _CLASSES[name](level)
