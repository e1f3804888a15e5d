"""Mappings of zict, which may keep a file for each name."""

from __future__ import annotations

from kvwrap.stores.adapted.adapter import FILE_NAMES
from kvwrap.stores.adapted.mappings import MappingAdapter


class ZictAdapter(MappingAdapter):
    """Adapts a mapping of zict. It may end in a `File`, so names are as short as those of files."""

    kind = "mapping of zict"
    classes = ("zict.common:ZictBase",)
    package = "zict"
    names = FILE_NAMES
