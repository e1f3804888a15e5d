"""A store that reads the table of django-keyval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from django.db import connections

from kvwrap.core.capability import Capabilities, Capability
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry, foreign
from kvwrap.core.paging import PAGE_SIZE
from kvwrap.core.primitives import Collection, KeyRange, Page
from kvwrap.core.serializer import JSON, PickleSerializer
from kvwrap.errors import ConfigurationError, CorruptEntry
from kvwrap.integrations.django.calling import query
from kvwrap.stores.shared.only_read import OnlyRead

TABLE: Final = "django_keyval__kvstore"


class KeyValTable(OnlyRead):
    """Reads the table of django-keyval, whose package need not be installed: a source for `copy`.

    A name is a collection. The values are pickles: reading one can run any code of its writer, so
    that must be asked for by name. Without it a value raises `CorruptEntry`, and the
    keys can still be listed. Writes raise `ReadOnlyViolation`.

    Args:
        using: Alias of the database.
        table: Name of the table.
        serializer: "pickle" to unpickle the values.
        clock: Source of the time.

    Raises:
        ConfigurationError: The table is missing.
        StoreUnavailable: The database cannot be reached.
    """

    refusal = (
        "the table of django-keyval is only read: copy its entries to another store with "
        "kvwrap.copy"
    )
    capabilities: Capabilities = frozenset(
        {Capability.KEYS, Capability.COLLECTIONS, Capability.PERSISTENT, Capability.SHARED}
    )

    def __init__(
        self,
        using: str = "default",
        *,
        table: str = TABLE,
        serializer: Literal["pickle"] | None = None,
        clock: Clock | None = None,
    ) -> None:
        if serializer not in (None, "pickle"):
            raise ConfigurationError(
                f"`serializer` must be 'pickle' or left out, as the values are pickles; got "
                f"{serializer!r}"
            )
        self._unpickles = serializer is not None
        super().__init__(clock=clock, serializer=PickleSerializer() if self._unpickles else JSON)
        self._using = using
        self._name = table

    @property
    def location(self) -> str:
        return f"table {self._name!r} of django-keyval in the database {self._using!r} of Django"

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        if collection is None:
            return [None] * len(keys)
        found: dict[str, str] = {}
        for start in range(0, len(keys), PAGE_SIZE):
            some = keys[start : start + PAGE_SIZE]
            marks = ", ".join(["%s"] * len(some))
            where = f"{{name}} = %s AND {{key}} IN ({marks})"
            found.update(await self._select("{key}, {value}", where, (collection, *some)))
        if found and not self._unpickles:
            raise CorruptEntry(
                "the values of django-keyval are pickles, which are read only if that is asked for "
                "by name: trust everybody who can write to the table, and pass serializer='pickle'",
                store=self.name,
                collection=collection,
                key=next(iter(found)),
            )
        now = self.clock.time()
        return [
            None
            if (text := found.get(key)) is None
            else foreign(
                self._pickled(text, collection, key), collection, key, now, None, self._tag
            )
            for key in keys
        ]

    def _pickled(self, text: str, collection: Collection, key: str) -> bytes:
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError:
            raise CorruptEntry(
                "a value of django-keyval must be a pickle as text; this one has other characters",
                store=self.name,
                collection=collection,
                key=key,
            ) from None

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        last = cursor if isinstance(cursor, int) else 0
        if collection is None:
            return Page(())
        where = f"{{name}} = %s AND {{id}} > %s ORDER BY {{id}} LIMIT {PAGE_SIZE}"
        rows = await self._select("{id}, {key}", where, (collection, last))
        keys = [key for _, key in rows if key in key_range]
        return Page(keys, rows[-1][0] if len(rows) == PAGE_SIZE else None)

    async def list_collections(self) -> list[Collection]:
        return [name for (name,) in await self._select("DISTINCT {name}", "{name} <> %s", ("",))]

    async def ping(self) -> None:
        await self._select("{id}", "{id} = %s", (0,))

    async def _select(self, columns: str, where: str, values: Sequence[object]) -> list[Any]:
        def work() -> list[Any]:
            connection = connections[self._using]
            quote: Callable[[str], str] = connection.ops.quote_name
            names = {each: quote(each) for each in ("id", "name", "key", "value")}
            statement = f"SELECT {columns} FROM {quote(self._name)} WHERE {where}"  # noqa: S608  # quoted
            with connection.cursor() as cursor:
                cursor.execute(statement.format(**names), values)
                return list(cursor.fetchall())

        await self.ready()
        return await query(work, (self._using,), lambda: self.location, store=self.name)
