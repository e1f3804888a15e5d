"""The STORE of a command line: a URL, or a TOML file."""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from kvwrap.cli.output import complain, shown_name
from kvwrap.config.load import from_config
from kvwrap.config.reader import store_from_url
from kvwrap.core.explain import walk as walk_all
from kvwrap.core.layer import LayeredStore, layers_of
from kvwrap.core.registry import store_names
from kvwrap.core.store import Store
from kvwrap.core.text import printable
from kvwrap.core.ttl import TTL
from kvwrap.core.validation import suggest
from kvwrap.errors import ConfigurationError, InvalidTTL, StackWarning, UnsupportedOperation


class FileName(NamedTuple):
    """A TOML file of stacks, and the name of one of them, if one was given."""

    path: str
    name: str | None


def file_of(target: str) -> FileName | None:
    """Return the file that a STORE names, or None for a URL.

    Raises:
        ConfigurationError: It is neither a URL nor an existing file.
    """
    if "://" in target:
        return None
    path, hash_sign, name = target.partition("#")
    if not Path(path).is_file():
        raise ConfigurationError(_missing(path))
    if meant := _meant(Path(path)):
        raise ConfigurationError(
            "STORE must be a URL such as redis://localhost, or the path of a TOML file; "
            f"{printable(path)} is a file of another kind{meant}"
        )
    return FileName(path, name if hash_sign else None)


def load(target: str, *, python: bool, creates: bool = False) -> Store:
    """Return the store that a STORE names, ready to be opened beside its application.

    Args:
        target: The STORE.
        python: True to follow references to Python code.
        creates: True if what is missing is created, for commands that write new entries.

    Raises:
        ConfigurationError: There is no such store, or it is described wrongly.
    """
    return as_tool(build(target, python=python), creates=creates)


def build(target: str, *, python: bool) -> Store:
    """Return the store that a STORE names, as it is described. It is not to be opened.

    The arguments and errors are those of `load`.
    """
    file = file_of(target)
    if file is None:
        return store_from_url(target)
    try:
        return from_config(file.path, name=file.name, python=python)
    except ConfigurationError as error:
        if file.path in error.message:
            raise
        # A command may have two files.
        named = f"{printable(file.path)}: {error.message}"
        raise ConfigurationError(named, store=error.store) from error


def as_tool(store: Store, *, creates: bool) -> Store:
    """Return a store to be opened beside the application whose stack it describes.

    It serves nothing, and has no journal, so that neither keeps the other from opening. What waits
    in the journal of an application is not seen, as by any other process.

    Args:
        store: The store. It is not open, and not to be used any more.
        creates: As for `load`.
    """
    tool = _beside(store)
    for part in walk_all(tool):
        part.serves = False
        if isinstance(part, Store):
            part.creates = creates
    return tool


def _beside(store: Store) -> Store:
    """Return a store without what only one process can have."""
    layers = layers_of(store)
    kept = tuple(each for layer in layers if (each := layer.beside()) is not None)
    if kept == layers:
        return store
    for layer in layers:
        layer.release()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StackWarning)  # told of the whole stack
        return LayeredStore(store.base, kept, silenced=store.silenced) if kept else store.base


def _meant(path: Path) -> str:
    """Return a hint if a path is that of what a store keeps: empty for other files and folders."""
    try:
        if path.is_dir():
            url = f"lmdb://{path.absolute()}" if (path / "data.mdb").is_file() else ""
        else:
            with path.open("rb") as file:
                is_sqlite = file.read(len(_SQLITE)) == _SQLITE
            url = f"sqlite:///{quote(str(path))}" if is_sqlite else ""
    except OSError:  # who reads it reports it
        url = ""
    return f": did you mean {url}?" if url else ""


def _missing(path: str) -> str:
    wanted = "STORE must be a URL such as redis://localhost, or the path of a TOML file"
    if "@" in path:  # perhaps a URL with a password
        return f"{wanted}; got something else"
    given = Path(path)
    if given.is_dir():
        return f"{wanted}; {printable(path)} is a folder{_meant(given)}"
    try:
        beside = [each.name for each in given.parent.iterdir() if each.suffix == ".toml"]
    except OSError:
        beside = []
    scheme = path.partition(":")[0]
    near = difflib.get_close_matches(given.name, beside, n=1, cutoff=0.5)
    if near:
        hint = f": did you mean {given.with_name(near[0])}?"
    elif scheme in store_names():
        hint = f": did you mean {scheme}://?"
    else:
        hint = ""
    return f"{wanted}; there is no file {printable(path)}{hint}"


_SQLITE: Final = b"SQLite format 3\0"
"""What a file of SQLite begins with."""

_TTL = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parse_ttl(text: str | None) -> TTL | None:
    """Return the seconds of a TTL such as `90`, `15m` or `2d`; `None` for None.

    Raises:
        InvalidTTL: It is not of this form.
    """
    if text is None:
        return None
    match = _TTL.fullmatch(text)
    if match is None:
        raise InvalidTTL(
            f"a ttl must be a number of seconds, or with one of s, m, h, d, such as 15m; got {text}"
        )
    return float(match[1]) * _UNITS[match[2]]


async def has_collections(store: Store, collections: Sequence[str | None] | None) -> bool:
    """Return True if these collections have entries, and say which does not.

    True, too, where the store cannot tell. The default collection may be empty.
    """
    names = [name for name in collections or () if name is not None]
    try:
        missing = [name for name in names if not await store.keys(name, limit=1)]
        known = await store.collections() if missing else ()
    except UnsupportedOperation:
        return True
    # One of them may have got entries meanwhile, or have only those of layers.
    missing = [name for name in missing if name not in known]
    for name in missing:
        hint = f": {suggest(name, known)}" if known else ", nor any other one with a name"
        complain(f"no collection {shown_name(name)}{hint}")
    return not missing


def chosen(collections: list[str] | None) -> list[str | None] | None:
    """Return the collections of repeated options, where '' stands for the default one."""
    return [name or None for name in collections] if collections else None
