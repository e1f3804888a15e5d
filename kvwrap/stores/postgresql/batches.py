"""Batches as the statements take them: rows, and keys that occur several times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from kvwrap.core.entry import Entry, dump_entries, expiry_ms, with_lasting_versions
from kvwrap.core.primitives import ABSENT, Collection, Expected
from kvwrap.errors import ValueTooLarge
from kvwrap.stores.postgresql.names import LIMIT, Keys, divide, encode_collection
from kvwrap.stores.shared.versions import all_to_signed, to_signed

LARGEST: Final = 2**30 - 2**20
"""Maximum size of an entry in bytes. The server takes messages below 1 GiB, names included."""

_LONGEST_PAYLOAD: Final = 7999
"""Maximum number of bytes that NOTIFY sends."""


T = TypeVar("T")

_ABSENT: Final = "_if_absent"
_VERSION: Final = "_if_version"


class Rows(NamedTuple):
    """Rows to write, in columns."""

    keys: Keys
    expires_at: list[int | None]
    versions: list[int]
    entries: list[bytes]


def make_rows(
    entries: Sequence[Entry], collection: Collection, keys: Sequence[str], *, store: str
) -> Rows:
    """Return the rows of the entries of a batch.

    Raises:
        ValueTooLarge: The server cannot take one of them.
    """
    entries = with_lasting_versions(entries)  # as in their headers
    data = dump_entries(entries, collection, keys)
    divided = divide(keys)
    if sum(map(len, data)) > LARGEST:
        for key, entry in zip(keys, data):
            if len(entry) > LARGEST:
                raise ValueTooLarge(
                    f"an entry must fit into a message to PostgreSQL, {LARGEST} bytes; got "
                    f"{len(entry)} bytes. Nothing was written: store smaller values",
                    store=store,
                    collection=collection,
                    key=key,
                )
    return Rows(
        divided,
        [None if entry.expires_at is None else expiry_ms(entry.expires_at) for entry in entries],
        all_to_signed([entry.version for entry in entries]),
        data,
    )


def one_row(entry: Entry, collection: Collection, key: str) -> list[Any] | None:
    """Return the arguments of the statement that writes one row, in a third of the time.

    Returns None for an entry that needs what `make_rows` and `write_arguments` do.
    """
    head = key.encode()
    if len(head) > LIMIT or type(entry.version) is not int or len(entry.body) > LARGEST // 2:
        return None
    name, whole = encode_collection(collection)
    ends, version = expiry_ms(entry.expires_at) or None, to_signed(entry.version)
    return [name, head, b"", ends, version, entry.to_bytes(collection, key), whole, b""]


Step = tuple[str, Sequence[int]]
"""One statement for some keys of a batch: the end of its name, and the indexes of the keys."""


def plan(keys: Sequence[str], expected: Sequence[Expected] | None) -> list[Step]:
    """Return the statements that change the keys of a batch, in their order.

    If a key occurs twice, each occurrence is in a statement of its own, or only the last one if
    nothing is expected. Keys are sorted: statements that lock rows in the same order do not wait
    for each other in a circle.
    """
    if expected is None:
        if len(keys) == 1:
            return [("", range(1))]
        latest = {key: index for index, key in enumerate(keys)}
        order = [latest[key] for key in sorted(latest)]
        everything = range(len(keys))
        return [("", everything if order == list(everything) else order)]
    steps: dict[tuple[int, str], list[int]] = {}
    seen: Counter[str] = Counter()
    for index in sorted(range(len(keys)), key=keys.__getitem__):  # keeps the order of equal keys
        version = expected[index]
        condition = "" if version is None else _ABSENT if version is ABSENT else _VERSION
        steps.setdefault((seen[keys[index]], condition), []).append(index)
        seen[keys[index]] += 1
    return [(condition, steps[number, condition]) for number, condition in sorted(steps)]


def removals(keys: Sequence[str], expected: Sequence[Expected] | None) -> list[Step]:
    """Return the statements that remove the keys of a batch, in their order."""
    steps = plan(keys, [None] * len(keys) if expected is None else expected)
    # There is nothing to remove where an entry must be absent.
    return [step for step in steps if step[0] != _ABSENT]


def write_arguments(
    step: Step,
    collection: Collection,
    rows: Rows,
    expected: Sequence[Expected] | None,
    now: int,
) -> list[Any]:
    """Return the arguments of a statement that writes rows; a list for each column."""
    condition, indexes = step
    name, whole = encode_collection(collection)
    heads, digests, rests, _ = rows.keys
    arguments: list[Any] = [
        name,
        take(heads, indexes),
        _take_any(digests, indexes),
        _take_any(rows.expires_at, indexes),
        take(rows.versions, indexes),
        take(rows.entries, indexes),
    ]
    if condition == _VERSION:
        return [*arguments, now, _versions(expected, indexes)]
    arguments += [whole, _take_any(rests, indexes)]
    return [*arguments, now] if condition == _ABSENT else arguments


def remove_arguments(
    step: Step,
    collection: Collection,
    keys: Keys,
    expected: Sequence[Expected] | None,
    now: int,
) -> list[Any]:
    """Return the arguments of a statement that removes rows; a list for each column."""
    condition, indexes = step
    name, _ = encode_collection(collection)
    arguments: list[Any] = [name, take(keys.heads, indexes), _take_any(keys.digests, indexes), now]
    return [*arguments, _versions(expected, indexes)] if condition == _VERSION else arguments


def take(column: Sequence[T], indexes: Sequence[int]) -> Sequence[T]:
    """Return the values of a column with these indexes."""
    if type(indexes) is range and len(indexes) == len(column):
        return column
    return [column[index] for index in indexes]


def _take_any(column: Sequence[T], indexes: Sequence[int]) -> Sequence[T] | None:
    """Return the values of a column, or None for a batch without any."""
    return None if len(indexes) > 1 and not any(column) else take(column, indexes)


def _versions(expected: Sequence[Expected] | None, indexes: Sequence[int]) -> list[int | None]:
    versions = [] if expected is None else [expected[index] for index in indexes]
    return [to_signed(version) if isinstance(version, int) else None for version in versions]


def payload(collection: Collection, keys: Sequence[str] | None) -> str:
    """Return what is sent to those who listen for changes.

    Args:
        collection: The collection that changed.
        keys: The keys that may have changed; None for any of them.
    """
    if keys is not None:
        text = msgspec.json.encode({"collection": collection, "keys": keys})
        if len(text) <= _LONGEST_PAYLOAD:
            return text.decode()
    text = msgspec.json.encode({"collection": collection})
    return text.decode() if len(text) <= _LONGEST_PAYLOAD else EVERYTHING


EVERYTHING: Final = "{}"
"""The payload that says that anything may have changed."""
