"""Where an entry is: the folder of its collection, and its file in there."""

from __future__ import annotations

import re
import string
import zlib
from typing import Final, NamedTuple

from kvwrap.core.primitives import Collection
from kvwrap.stores.shared.names import NameEncoding

DEFAULT: Final = "_default"
"""The folder of the default collection."""

CONTROL: Final = ".kvwrap"
"""The folder of locks and unfinished files; no collection has this one."""

STRIPES: Final = 32
"""Number of locks that the files of a tree share."""

# Without capital letters and characters beyond ASCII, no two names become equal where a file
# system ignores case or normalises Unicode. The rest is what Windows and shells take as it is;
# "~" is left out, as "progra~1" would be another name of a longer file.
_PLAIN: Final = string.ascii_lowercase + string.digits + "-_.,+=@"
_LIMIT: Final = 255

# Hidden files and "..", what Windows strips, devices of Windows, and the default collection.
_RESERVED: Final = re.compile(rf"\.|.*\.\Z|(con|prn|aux|nul|com\d|lpt\d)(\.|\Z)|{DEFAULT}\Z")


def _is_reserved(name: str) -> bool:
    return _RESERVED.match(name) is not None


NAMES: Final = NameEncoding(_PLAIN, limit=_LIMIT, is_reserved=_is_reserved)
"""The names of folders and files."""


class Place(NamedTuple):
    """A file of the tree.

    Attributes:
        folder: Name of the collection's folder.
        file: Name of the file in it.
    """

    folder: str
    file: str

    @property
    def path(self) -> str:
        """The path within the tree."""
        return f"{self.folder}/{self.file}"

    @property
    def stripe(self) -> int:
        """The number of the lock that the file is changed under."""
        return zlib.crc32(self.path.encode()) % STRIPES


def folder_of(collection: Collection) -> str:
    """Return the name of a collection's folder."""
    return DEFAULT if collection is None else NAMES.encode(collection)


def place_of(collection: Collection, key: str) -> Place:
    """Return the place of a key's entry."""
    return Place(folder_of(collection), NAMES.encode(key))


def is_folder_name(name: str) -> bool:
    """Return True if a collection may have the folder of this name."""
    return name == DEFAULT or is_file_name(name)


def is_file_name(name: str) -> bool:
    """Return True if a key may have the file of this name, or a collection the folder."""
    return NAMES.is_hashed(name) or NAMES.decode(name) is not None
