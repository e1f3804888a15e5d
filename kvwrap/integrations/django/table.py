"""A table of entries, in blocking calls through the ORM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.apps import apps
from django.core.exceptions import AppRegistryNotReady
from django.db import connections, router, transaction
from django.db.models import Q

from kvwrap.core.clock import Clock
from kvwrap.core.entry import (
    Entry,
    dump_entries,
    expiry_ms,
    parse_entries,
    with_lasting_versions,
)
from kvwrap.core.paging import PAGE_SIZE
from kvwrap.core.primitives import ABSENT, Collection, Expected, KeyRange, Page
from kvwrap.core.randomness import new_version
from kvwrap.core.reserved import RESERVED, RESERVED_END
from kvwrap.errors import ConfigurationError
from kvwrap.integrations.django.names import (
    bounds,
    decode_collection,
    encode_collection,
    encode_keys,
)
from kvwrap.stores.shared.chunks import parts
from kvwrap.stores.shared.versions import all_to_signed, to_signed

KEYS_PER_STATEMENT: Final = 500
"""Maximum number of keys in a statement; every SQLite allows at least 999 variables."""

_NAMES: Final = ("collection", "key")
_CONTENT: Final = ("version", "expires_at", "entry")


class Table:
    """The primitives of a store. Each is called on the thread whose connection it is to use.

    A call that writes is atomic: a transaction, or a savepoint in the caller's own.

    Args:
        model: The model, a subclass of `AbstractEntry`, or its label.
        using: Alias of the database; None to ask the routers.
        clock: Source of the time.
        store: Name of the store, for errors.
    """

    def __init__(self, model: Any, using: str | None, clock: Clock, *, store: str) -> None:
        self._label = model
        self._using = using
        self._clock = clock
        self._store = store

    @property
    def model(self) -> Any:
        """The model.

        Raises:
            ConfigurationError: Its application is not installed.
        """
        if not isinstance(self._label, str):
            return self._label
        try:
            return apps.get_model(self._label)
        except (LookupError, AppRegistryNotReady) as error:
            raise ConfigurationError(
                f"the application of the model {self._label!r} must be installed and set "
                "up: add 'kvwrap.integrations.django' to INSTALLED_APPS, and call django.setup() "
                "in programs without manage.py",
                store=self._store,
            ) from error

    @property
    def reads_from(self) -> str:
        """The alias of the database that is read."""
        return self._using or str(router.db_for_read(self.model))

    @property
    def writes_to(self) -> str:
        """The alias of the database that is written."""
        return self._using or str(router.db_for_write(self.model))

    @property
    def aliases(self) -> set[str]:
        """The aliases of the databases that are used."""
        return {self.reads_from, self.writes_to}

    def check(self) -> None:
        """Check that the database is one that can hold entries.

        Raises:
            ConfigurationError: It is not, or the model's application is not installed.
        """
        _ = self.model
        for alias in self.aliases:
            if alias not in connections.settings:
                raise ConfigurationError(
                    f"`using` must be one of the DATABASES of the settings, such as "
                    f"{next(iter(connections.settings))!r}; got {alias!r}",
                    store=self._store,
                )
            connection = connections[alias]
            if not connection.features.supports_update_conflicts_with_target:
                raise ConfigurationError(
                    "the database must be SQLite or PostgreSQL, which replace an entry in one "
                    f"statement; the database {alias!r} is {connection.display_name}",
                    store=self._store,
                )

    def ping(self) -> None:
        """Look for a row that is not there."""
        self._rows().filter(pk=0).exists()

    # -- keys --------------------------------------------------------------------------

    def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        """Read the entries of these keys; None for a missing or expired one."""
        return self._read(self._rows(), collection, keys)

    def _read(self, rows: Any, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        name, ids = self._encode(collection, keys)
        rows = rows.filter(collection=name)
        found: dict[bytes, bytes] = {}
        for start in range(0, len(ids), KEYS_PER_STATEMENT):
            some = rows.filter(key__in=ids[start : start + KEYS_PER_STATEMENT])
            found.update(
                (bytes(key), bytes(data)) for key, data in some.values_list("key", "entry")
            )
        now = self._clock.time()
        return parse_entries(map(found.get, ids), collection, keys, self._store, now)

    def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None,
    ) -> list[bool]:
        """Write entries, each only if there is what is expected. Returns which were written.

        An entry that is stored already, with the same version, counts as written.
        """
        rows = self._make_rows(collection, keys, entries)
        conditions: Sequence[Expected] = expected or [None] * len(rows)
        written = [True] * len(rows)
        with transaction.atomic(using=self.writes_to):
            for group in _groups(keys, conditions):
                some = [rows[index] for index in group]
                condition = conditions[group[0]]
                if condition is None:
                    self._put(some)
                    continue
                if condition is ABSENT:
                    done = self._put_absent(some)
                else:
                    done = [self._put_version(rows[index], conditions[index]) for index in group]
                for index, is_written in zip(group, done):
                    written[index] = is_written
        return written

    def _put(self, rows: Sequence[Any]) -> None:
        # In one order, so that no two batches wait for each other's rows.
        last = {row.key: row for row in rows}
        ordered = [last[key] for key in sorted(last)]
        manager = self._rows(writes=True)
        for part in parts(len(ordered), [len(row.entry) for row in ordered]):
            manager.bulk_create(
                ordered[part],
                update_conflicts=True,
                unique_fields=_NAMES,
                update_fields=_CONTENT,
            )

    def _put_absent(self, rows: Sequence[Any]) -> list[bool]:
        """Insert rows of different keys, each if there is no live entry."""
        ordered = sorted(rows, key=lambda row: row.key)
        found: set[tuple[bytes, int]] = set()
        for start in range(0, len(ordered), KEYS_PER_STATEMENT):
            some = ordered[start : start + KEYS_PER_STATEMENT]
            names = {"collection": rows[0].collection, "key__in": [row.key for row in some]}
            there = self._rows(writes=True).filter(**names)
            there.filter(self._expired()).delete()
            self._rows(writes=True).bulk_create(some, ignore_conflicts=True)
            found.update(
                (bytes(key), version) for key, version in there.values_list("key", "version")
            )
        return [(row.key, row.version) in found for row in rows]

    def _put_version(self, row: Any, version: Expected) -> bool:
        assert isinstance(version, int)
        signed = to_signed(version)
        if signed is None:
            return False
        holds = Q(version=signed) & self._live()
        if row.version != signed:  # a write that keeps the version must not find an expired row
            holds |= Q(version=row.version)
        rows = self._rows(writes=True).filter(holds, collection=row.collection, key=row.key)
        return bool(rows.update(**{name: getattr(row, name) for name in _CONTENT}))

    def remove(
        self, collection: Collection, keys: Sequence[str], expected: Sequence[Expected] | None
    ) -> list[bool]:
        """Remove entries, each only if it has the expected version.

        Returns which were live and were removed.
        """
        name, ids = self._encode(collection, keys)
        rows = self._rows(writes=True).filter(collection=name)
        with transaction.atomic(using=self.writes_to):
            if len(ids) == 1 or expected is not None:
                versions = expected or [None]
                return [self._remove_one(rows, key, each) for key, each in zip(ids, versions)]
            # Expired ones first: that locks SQLite's file before something is read.
            removed: set[bytes] = set()
            for start in range(0, len(ids), KEYS_PER_STATEMENT):
                some = rows.filter(key__in=ids[start : start + KEYS_PER_STATEMENT])
                some.filter(self._expired()).delete()
                there = some.select_for_update().order_by("key").values_list("key", flat=True)
                found = {bytes(key) for key in there}
                rows.filter(key__in=list(found)).delete()
                removed |= found
        # Of a key that occurs twice, the first removal finds it.
        return [key in removed and ids.index(key) == index for index, key in enumerate(ids)]

    def _remove_one(self, rows: Any, key: bytes, version: Expected) -> bool:
        if version is ABSENT:
            return False
        rows = rows.filter(self._live(), key=key)
        if version is not None:
            signed = to_signed(version)
            if signed is None:
                return False
            rows = rows.filter(version=signed)
        return bool(rows.delete()[0])

    def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        """Set new expiry times (Unix seconds, None for no expiry). Returns which keys existed."""
        name, ids = self._encode(collection, keys)
        rows = self._rows(writes=True)
        with transaction.atomic(using=self.writes_to):
            for start in range(0, len(ids), KEYS_PER_STATEMENT):
                some = ids[start : start + KEYS_PER_STATEMENT]
                rows.filter(self._expired(), collection=name, key__in=some).delete()
            entries = self._read(rows.select_for_update().order_by("key"), collection, keys)
            changed = {
                key: entry.with_expiry(expiry, new_version())
                for key, entry, expiry in zip(keys, entries, expires)
                if entry is not None
            }
            if changed:
                self._put(self._make_rows(collection, list(changed), list(changed.values())))
        return [entry is not None for entry in entries]

    # -- whole collections -------------------------------------------------------------

    def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        """List one page of the keys of a collection, in order."""
        # The cursor is the last key of the previous page.
        rows = self._range(self._rows(), collection, key_range).filter(self._live())
        if isinstance(cursor, bytes):
            rows = rows.filter(key__gt=cursor)
        keys = [
            bytes(key) for key in rows.order_by("key").values_list("key", flat=True)[:PAGE_SIZE]
        ]
        names = [key.decode(errors="replace") for key in keys]
        return Page(names, keys[-1] if len(keys) == PAGE_SIZE else None)

    def list_collections(self) -> list[Collection]:
        """List the collections that have a live entry."""
        rows = self._rows().filter(self._live()).order_by("collection")
        return [
            decode_collection(name) for name in rows.values_list("collection", flat=True).distinct()
        ]

    def count_range(self, collection: Collection, key_range: KeyRange) -> int:
        """Count the live entries in the range, without the records of layers."""
        rows = self._range(self._rows(), collection, key_range).exclude(_reserved())
        return int(rows.filter(self._live()).count())

    def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        """Delete the entries in the range. Returns how many of them were live."""
        rows = self._range(self._rows(writes=True), collection, key_range)
        return self._delete(rows.exclude(_reserved()))

    def drop(self, collection: Collection) -> bool:
        """Delete all entries of a collection. Returns True if one of them was live."""
        name = encode_collection(collection, store=self._store)
        return self._delete(self._rows(writes=True).filter(collection=name)) > 0

    def drop_all(self) -> bool:
        """Delete all entries. Returns True if one of them was live."""
        return self._delete(self._rows(writes=True).all()) > 0

    def _delete(self, rows: Any) -> int:
        with transaction.atomic(using=self.writes_to):
            live, _ = rows.filter(self._live()).delete()
            rows.filter(self._expired()).delete()
        return int(live)

    def sweep(self) -> bool:
        """Delete some of the expired entries. Returns True if there may be more."""
        rows = self._rows(writes=True)
        expired = self._expired()
        some = rows.filter(expired).values_list("pk", flat=True)[:KEYS_PER_STATEMENT]
        keys = list(some)
        if keys:
            rows.filter(expired, pk__in=keys).delete()
        return len(keys) == KEYS_PER_STATEMENT

    # -- rows --------------------------------------------------------------------------

    def _rows(self, *, writes: bool = False) -> Any:
        alias = self.writes_to if writes else self.reads_from
        return self.model._base_manager.using(alias)

    def _range(self, rows: Any, collection: Collection, key_range: KeyRange) -> Any:
        name = encode_collection(collection, store=self._store)
        first, end = bounds(key_range)
        return rows.filter(collection=name, key__gte=first, key__lt=end)

    def _encode(self, collection: Collection, keys: Sequence[str]) -> tuple[bytes, list[bytes]]:
        return (
            encode_collection(collection, store=self._store),
            encode_keys(keys, store=self._store),
        )

    def _make_rows(
        self, collection: Collection, keys: Sequence[str], entries: Sequence[Entry]
    ) -> list[Any]:
        name, ids = self._encode(collection, keys)
        entries = with_lasting_versions(entries)  # the same in the headers and in the column
        stored = dump_entries(entries, collection, keys)
        versions = all_to_signed([entry.version for entry in entries])
        model = self.model
        return [
            model(
                collection=name,
                key=key,
                version=version,
                expires_at=expiry_ms(entry.expires_at) or None,
                entry=data,
            )
            for key, version, entry, data in zip(ids, versions, entries, stored)
        ]

    def _now(self) -> int:
        """Return the time in Unix milliseconds, the unit of the column `expires_at`."""
        return int(self._clock.time() * 1000)

    def _live(self) -> Any:
        return Q(expires_at=None) | Q(expires_at__gt=self._now())

    def _expired(self) -> Any:
        return Q(expires_at__lte=self._now())


def _reserved() -> Any:
    return Q(key__gte=RESERVED.encode(), key__lt=RESERVED_END.encode())


def _groups(keys: Sequence[str], conditions: Sequence[Expected]) -> list[list[int]]:
    """Divide a batch into groups of one kind of condition: the indexes of each.

    If a key occurs twice, each is a group of its own, in the order of the batch.
    """
    if len(set(keys)) < len(keys) and any(each is not None for each in conditions):
        return [[index] for index in range(len(keys))]
    groups: dict[object, list[int]] = {}
    for index, condition in enumerate(conditions):
        kind = condition if condition is None or condition is ABSENT else int
        groups.setdefault(kind, []).append(index)
    # In the order of keys, so that no two batches wait for each other's rows.
    return [
        sorted(group, key=lambda index: keys[index]) if kind is not None else group
        for kind, group in groups.items()
    ]
