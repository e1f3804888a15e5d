"""The systems that `kvwrap migrate` reads, each as a store."""

from __future__ import annotations

import importlib
import os
import re
import sqlite3
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any, Final, NamedTuple

from kvwrap.config.references import object_of
from kvwrap.core.registry import as_store
from kvwrap.core.store import Store
from kvwrap.core.validation import has_method
from kvwrap.errors import ConfigurationError
from kvwrap.integrations.diskcache import DiskcacheFolder

_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TIMEOUT: Final = 60.0
"""Seconds for a call of an object. Nobody but the migration waits for it."""


class Given(NamedTuple):
    """What the user says of the source.

    Attributes:
        place: SOURCE.
        table: The table, for keyvalue-sqlite.
        pickle: True if pickles may be read.
        json_disk: True if diskcache wrote JSON.
    """

    place: str
    table: str | None = None
    pickle: bool = False
    json_disk: bool = False


def source_of(system: str, given: Given, made: AsyncExitStack) -> Store:
    """Return the store that reads a system.

    SOURCE may be `package.module:name` for every system: an object of it, a function that returns
    one, or a store of kvwrap. Modules are found in the current folder, too.

    Args:
        system: The system, of `SYSTEMS`.
        given: What the user says of the source.
        made: Gets what is to be closed afterwards, in the event loop that used the store.

    Raises:
        ConfigurationError: There is no such source, or a package that reads it is not installed,
            or an option is not one of this system.
    """
    kind = SYSTEMS[system]
    for option, is_given in (
        ("table", given.table is not None),
        ("pickle", given.pickle),
        ("json-disk", given.json_disk),
    ):
        if is_given and option not in kind.options:
            raise ConfigurationError(f"--{option} must be left out for {system}")
    if _REFERENCE.fullmatch(given.place) and not Path(given.place).exists():
        return _store_of(_object_of(given.place))
    return kind.make(given, made)


def _object_of(place: str) -> Any:
    folder = str(Path.cwd())
    if folder not in sys.path:  # a program on the PATH does not have it there, as `python -m` does
        sys.path.insert(0, folder)
    found = object_of(place)
    return found() if callable(found) and not has_method(found, "get") else found


def _store_of(obj: Any) -> Store:
    """Return a store that reads the values of an object as its own users do."""
    if isinstance(obj, Store) or has_method(obj, "ttl_many"):
        return as_store(obj)
    return as_store(obj, raw=True, timeout=_TIMEOUT)


def _need(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ConfigurationError(
            f"the package {package!r} must be installed to read this: pip install {package}"
        ) from None


def _folder(place: str, system: str) -> str:
    if not Path(place).is_dir():
        raise ConfigurationError(f"SOURCE must be a folder of {system}; {place!r} is not one")
    return str(Path(place).absolute())


def _from_py_key_value(given: Given, made: AsyncExitStack) -> Store:
    scheme = given.place.partition("://")[0]
    if scheme not in ("redis", "rediss"):
        raise ConfigurationError(
            "SOURCE must be package.module:name, which leads to the store, or for its RedisStore "
            "a URL, redis://…"
        )
    module = _need("key_value.aio.stores.redis", "py-key-value-aio[redis]")
    theirs = module.RedisStore(url=given.place)
    made.push_async_callback(theirs.close)
    return as_store(theirs)


def _from_diskcache(given: Given, made: AsyncExitStack) -> Store:
    folder = _folder(given.place, "diskcache")
    if not given.pickle:
        return DiskcacheFolder(folder, json=given.json_disk)
    if given.json_disk:
        raise ConfigurationError("--pickle must be left out with --json-disk, which has none")
    # Without this, `Cache` would make a cache of any folder.
    if not (Path(folder) / "cache.db").is_file():
        raise ConfigurationError(
            f"SOURCE must be a folder with the file cache.db; {given.place!r} has none"
        )
    cache = _need("diskcache", "diskcache").Cache(folder)
    return _store_of(made.enter_context(closing(cache)))


def _from_keyvalue_sqlite(given: Given, made: AsyncExitStack) -> Store:
    tables = _tables_of(given.place)
    names = ", ".join(map(repr, tables)) or "none"
    # The package would make a table that is missing.
    if given.table is None and len(tables) != 1:
        raise ConfigurationError(f"--table must name a table of the file, which has {names}")
    table = tables[0] if given.table is None else given.table.replace("-", "_")
    if table not in tables:
        raise ConfigurationError(f"the file has no table {table!r} of keyvalue-sqlite, but {names}")
    if not _NAME.fullmatch(table):
        # The package puts the name into its SQL as it is, and makes the table if it finds none.
        raise ConfigurationError(
            f"the name of a table of keyvalue-sqlite must have letters, digits and _ only; got "
            f"{table!r}, which the package cannot have made"
        )
    module = _need("keyvalue_sqlite", "keyvalue-sqlite")
    return _store_of(module.KeyValueSqlite(str(Path(given.place).absolute()), table))


def _tables_of(place: str) -> list[str]:
    """Return the tables of a file that keyvalue-sqlite may have made."""
    path = Path(place)
    if not path.is_file():
        raise ConfigurationError(f"SOURCE must be a file of SQLite; {place!r} is not one")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as opened:
            rows = opened.execute(
                "SELECT m.name FROM sqlite_master AS m WHERE m.type = 'table' AND 'key,value' = "
                "(SELECT group_concat(name) FROM pragma_table_info(m.name)) ORDER BY m.name"
            )
            return [name for (name,) in rows]
    except sqlite3.Error as error:
        raise ConfigurationError(
            f"SOURCE must be a file of SQLite; {place!r} cannot be read ({error})"
        ) from None


def _from_django_keyval(given: Given, made: AsyncExitStack) -> Store:
    if not given.pickle:
        raise ConfigurationError(
            "the values of django-keyval are pickles, which can run any code of their writer: pass "
            "--pickle if you trust everybody who could write to the table"
        )
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    os.environ["DJANGO_SETTINGS_MODULE"] = given.place
    django = _need("django", "django")
    settings = _need("django.conf", "django").settings
    if not settings.configured:
        try:
            importlib.import_module(given.place)
        except (ImportError, ValueError) as error:
            raise ConfigurationError(
                "SOURCE must be the settings module of a Django project, such as mysite.settings; "
                f"{given.place!r} cannot be imported ({type(error).__name__}) from this folder"
            ) from None
        django.setup()
    # Imported when Django has its settings, which the module needs.
    table: Store = _need("kvwrap.integrations.django.keyval_table", "django").KeyValTable(
        serializer="pickle"
    )
    return table


def _from_great_expectations(given: Given, made: AsyncExitStack) -> Store:
    folder = _folder(given.place, "a TupleFilesystemStoreBackend")
    module = _need(
        "great_expectations.data_context.store.tuple_store_backend", "great_expectations"
    )
    # The id would be written to the folder.
    return _store_of(
        module.TupleFilesystemStoreBackend(base_directory=folder, suppress_store_backend_id=True)
    )


def _from_steamship(given: Given, made: AsyncExitStack) -> Store:
    client = _need("steamship", "steamship").Steamship()
    module = _need("steamship.utils.kv_store", "steamship")
    return _store_of(module.KeyValueStore(client, store_identifier=given.place))


class _System(NamedTuple):
    make: Callable[[Given, AsyncExitStack], Store]
    options: frozenset[str] = frozenset()
    has_collections: bool = False


SYSTEMS: Final = {
    "py-key-value": _System(_from_py_key_value, has_collections=True),
    "diskcache": _System(_from_diskcache, frozenset({"pickle", "json-disk"})),
    "keyvalue-sqlite": _System(_from_keyvalue_sqlite, frozenset({"table"})),
    "django-keyval": _System(_from_django_keyval, frozenset({"pickle"}), has_collections=True),
    "great-expectations": _System(_from_great_expectations),
    "steamship": _System(_from_steamship),
}
"""The systems by the names of their pages in `docs/moving/`."""
