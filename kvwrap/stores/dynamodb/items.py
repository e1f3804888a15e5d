"""Entries as items: collection and key, the entry's bytes, its version, and its end.

The end is there twice: in milliseconds for conditions, and in seconds, as DynamoDB frees items.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from kvwrap.core.entry import Entry, expiry_ms
from kvwrap.core.primitives import Collection
from kvwrap.errors import CorruptEntry
from kvwrap.stores.shared.names import NameEncoding

Item = Mapping[str, Any]

COLLECTION: Final = "c"
KEY: Final = "k"
FREED_AT: Final = "ttl"
_ENTRY: Final = "entry"
_BYTES: Final = "B"
_VERSION: Final = "version"
_EXPIRES: Final = "expires"

_DEFAULT: Final = "%"
"""The name of the default collection, which no encoding is."""

_NAMES: Final = NameEncoding(None, limit=1024)
"""A sort key has at most 1,024 bytes. A partition key may have 2,048."""

LARGEST: Final = 400 * 1024
"""Bytes of an item: the names of its attributes, and their values."""
_OVERHEAD: Final = 100
"""Bytes of an item beyond its names and its entry."""


class Names(NamedTuple):
    """Collection and key, as an item has them."""

    collection: str
    key: str


class Condition(NamedTuple):
    """A condition on an item, with the values in it."""

    expression: str
    values: Mapping[str, Any]

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of a call with this condition, which then returns the item."""
        return {
            "ConditionExpression": self.expression,
            "ExpressionAttributeValues": self.values,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }


def names(collection: Collection, key: str) -> Names:
    """Return the names of an item."""
    return Names(partition(collection), _NAMES.encode(key))


def partition(collection: Collection) -> str:
    """Return the partition key of a collection."""
    return _DEFAULT if collection is None else _NAMES.encode(collection)


def prefix_of(prefix: str) -> str:
    """Return what the sort keys of all keys with a prefix begin with."""
    encoded = _NAMES.encode(prefix) if prefix else ""
    return encoded if len(encoded.encode()) <= _NAMES.kept else ""


def key_of(names: Names) -> dict[str, Any]:
    """Return the primary key of an item."""
    return {COLLECTION: {"S": names.collection}, KEY: {"S": names.key}}


def names_of(item: Item) -> Names:
    """Return the names that an item has."""
    return Names(item[COLLECTION]["S"], item[KEY]["S"])


def item(
    names: Names, collection: Collection, key: str, entry: Entry, data: bytes
) -> dict[str, Any]:
    """Return the item for an entry, given its bytes."""
    data = _NAMES.pack(names.key, key, data)
    data = _NAMES.pack(names.collection, collection or "", data)
    made: dict[str, Any] = {
        **key_of(names),
        _ENTRY: {"B": data},
        _VERSION: {"N": str(entry.version)},
    }
    expiry = expiry_ms(entry.expires_at)
    if expiry:
        made[_EXPIRES] = {"N": str(expiry)}
        made[FREED_AT] = {"N": str(-(-expiry // 1000))}
    return made


def size(item: Item) -> int:
    """Return about how many bytes an item has, as DynamoDB counts them; never too few."""
    found = names_of(item)
    return len(item[_ENTRY]["B"]) + 4 * (len(found.collection) + len(found.key)) + _OVERHEAD


def parse(item: Item, store: str) -> tuple[Collection, str, bytes]:
    """Return collection, key and the bytes of the entry of an item.

    Raises:
        CorruptEntry: The item is not one of this store.
    """
    found = names_of(item)
    collection: Collection = None
    try:
        data = item[_ENTRY]["B"]
        if found.collection != _DEFAULT:
            collection, data = _NAMES.unpack(found.collection, data)
        key, data = _NAMES.unpack(found.key, data)
    except (KeyError, ValueError, TypeError) as error:
        raise CorruptEntry(
            "the item must be one that this store wrote; it has other attributes: give the store a "
            "table of its own",
            store=store,
        ) from error
    return collection, key, data


def data_of(item: Item | None, names: Names, store: str) -> bytes | None:
    """Return the bytes of the entry of the item that has these names; None without an item.

    Raises:
        CorruptEntry: As from `parse`.
    """
    if item is None:
        return None
    if is_hashed(names) or _BYTES not in item.get(_ENTRY, ()):
        return parse(item, store)[2]
    data: bytes = item[_ENTRY][_BYTES]
    return data


def is_live(item: Item, now: float) -> bool:
    """Return True if an item has not expired."""
    expires = item.get(_EXPIRES)
    # Another program's attribute of this name may be a text.
    return expires is None or ("N" in expires and float(expires["N"]) > now * 1000)


def is_same(held: Item, item: Item, now: float) -> bool:
    """Return True if an unexpired item is of the same write as another one."""
    return held.get(_VERSION) == item[_VERSION] and is_live(held, now)


def if_live(now: float, version: int | None = None) -> Condition:
    """Return the condition that there is an unexpired item, with this version if one is given."""
    expression = (
        f"attribute_exists({COLLECTION}) AND "
        f"(attribute_not_exists({_EXPIRES}) OR {_EXPIRES} > :now)"
    )
    values = {":now": {"N": _milliseconds(now)}}
    if version is not None:
        expression += f" AND {_VERSION} = :version"
        values[":version"] = {"N": str(version)}
    return Condition(expression, values)


def if_absent(now: float) -> Condition:
    """Return the condition that there is no unexpired item."""
    expression = f"attribute_not_exists({COLLECTION}) OR {_EXPIRES} <= :now"
    return Condition(expression, {":now": {"N": _milliseconds(now)}})


def if_expired(now: float) -> Condition:
    """Return the condition that an item has expired."""
    return Condition(f"{_EXPIRES} <= :now", {":now": {"N": _milliseconds(now)}})


LISTED: Final = f"{COLLECTION}, {KEY}, {_EXPIRES}"
"""The attributes that a listing reads. Names that are hashed are read with the entry."""
READ: Final = f"{COLLECTION}, {KEY}, {_ENTRY}"
"""The attributes that a read of entries needs: what is not sent need not be decoded."""


def is_hashed(names: Names) -> bool:
    """Return True if a name lies under a hash."""
    return any(map(_NAMES.is_hashed, names))


def _milliseconds(now: float) -> str:
    return str(int(now * 1000))
