"""Tags: many entries become invalid at once."""

from kvwrap.layers.tags.layer import Tags

__all__ = ["Tags"]
