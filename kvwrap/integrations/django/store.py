"""Entries in the databases of Django's ORM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from django.db import connections

from kvwrap.core.capability import OPERATIONS, Capabilities, Capability
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page
from kvwrap.core.serializer import JSON, Serializer
from kvwrap.core.store import Store
from kvwrap.errors import KvwrapError
from kvwrap.integrations.django.calling import query, run_blocking
from kvwrap.integrations.django.table import Table

P = ParamSpec("P")
T = TypeVar("T")

MODEL: Final = "kvwrap.Entry"


class DjangoStore(Store):
    """Keeps entries in a database of a Django project, SQLite or PostgreSQL, through its ORM.

    The blocking view (`kvwrap.sync`) uses the database on the thread that calls it, so its calls
    are part of that thread's transaction (`atomic`, a request's, a `TestCase`'s). Async callers
    use the thread that Django gives them (`sync_to_async`, thread-sensitive). A batch is written
    whole or not at all. Keys are in order, and may contain NUL.

    Args:
        using: Alias of the database; None to ask the project's routers for each call.
        model: The model, or its label, that keeps the entries: a subclass of `AbstractEntry`.
        default_collection: Name of the collection of calls that name none; see `Store`.
        clock: Source of the time.
        serializer: Converts values to bytes, unless a layer does.

    Raises:
        StoreTimeout: From any method, if the database waited for other transactions too long.
        StoreFull: If its disk is full.
        StoreUnavailable: If it cannot be reached, or the caller's transaction is broken.
        AccessDenied: If the user may not do this with the table.
        ConfigurationError: If the table is missing, or the database is another product.
        InvalidKey: For names of more than 1,280 bytes.
    """

    capabilities: Capabilities = OPERATIONS | {Capability.PERSISTENT, Capability.SHARED}

    def __init__(
        self,
        using: str | None = None,
        *,
        model: Any = MODEL,
        default_collection: str | None = None,
        clock: Clock | None = None,
        serializer: Serializer = JSON,
    ) -> None:
        super().__init__(clock=clock, serializer=serializer, default_collection=default_collection)
        self._table = Table(model, using, self.clock, store=self.name)

    @property
    def location(self) -> str:
        alias = self._table.writes_to
        database = connections.settings[alias]
        host = ":".join(str(database[name]) for name in ("HOST", "PORT") if database.get(name))
        return (
            f"table {self._table.model._meta.db_table!r} in database {str(database['NAME'])!r} of "
            f"Django ({alias!r}{', ' if host else ''}{host})"
        )

    async def evicts(self) -> str | None:
        return (
            "its calls belong to the caller's transaction, which hides the record of a lock from "
            "others until it ends, and undoes it if it is rolled back"
        )

    # -- opening and closing -----------------------------------------------------------

    async def setup(self) -> None:
        await run_blocking(self._table.check)

    async def teardown(self) -> None:
        """Close the thread's connections to the store's databases, outside of transactions."""
        await run_blocking(self._close_connections)

    def _close_connections(self) -> None:
        for alias in self._table.aliases:
            connection = connections[alias]
            if not connection.in_atomic_block:
                connection.close()

    # -- the primitives ----------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        return await self._do(collection, keys, self._table.read, collection, keys)

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        """Write entries, each only if there is what is expected. Returns which were written.

        An entry that is stored already, with the same version, counts as written.
        """
        write = self._table.write
        return await self._do(collection, keys, write, collection, keys, entries, expected)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        return await self._do(collection, keys, self._table.remove, collection, keys, expected)

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        return await self._do(collection, keys, self._table.touch, collection, keys, expires)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        listing = self._table.list_keys
        return await self._do(collection, (), listing, collection, key_range, cursor)

    async def list_collections(self) -> list[Collection]:
        return await self._do(None, (), self._table.list_collections)

    async def count_range(self, collection: Collection, key_range: KeyRange) -> int:
        return await self._do(collection, (), self._table.count_range, collection, key_range)

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        return await self._do(collection, (), self._table.drop_range, collection, key_range)

    async def drop(self, collection: Collection) -> bool:
        return await self._do(collection, (), self._table.drop, collection)

    async def drop_all(self) -> bool:
        return await self._do(None, (), self._table.drop_all)

    async def sweep(self) -> None:
        while await self._do(None, (), self._table.sweep):
            pass

    async def ping(self) -> None:
        await self._do(None, (), self._table.ping)

    async def _do(
        self,
        collection: Collection,
        keys: Sequence[str],
        function: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call a function of the table on the thread whose connection it is to use."""
        await self.ready()

        call = partial(function, *args, **kwargs)
        try:
            aliases = self._table.aliases
            return await query(call, aliases, lambda: self.location, store=self.name)
        except KvwrapError as error:
            error.collection, error.key = collection, keys[0] if len(keys) == 1 else None
            raise
