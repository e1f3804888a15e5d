"""`kvwrap get`, `put`, `delete`, `ttl`, `expire` and `increment`: single entries."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from kvwrap.cli.codes import DONE, NO
from kvwrap.cli.input import confirm, read_input
from kvwrap.cli.options import (
    CollectionOption,
    FormatOption,
    JSONOption,
    KeyArgument,
    PrefixOption,
    PythonOption,
    StoreArgument,
    TTLOption,
    YesOption,
)
from kvwrap.cli.output import (
    complain,
    echo,
    echo_json,
    is_terminal,
    shown_name,
    write_bytes,
)
from kvwrap.cli.stores import has_collections, load, parse_ttl
from kvwrap.core.serializer import JSON
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError, InvalidValue


async def get(
    store: StoreArgument,
    key: KeyArgument,
    /,
    *,
    collection: CollectionOption = None,
    form: FormatOption = "json",
    json: JSONOption = False,
    python: PythonOption = False,
) -> int:
    """Print the value of a key.

    The exit code is 1 if there is nothing under the key.
    """
    async with load(store, python=python) as opened:
        value, seconds = await opened.ttl(key, collection=collection)
        if value is None and not await opened.exists(key, collection=collection):
            return await _missing(opened, key, collection)
    if json:
        echo_json({"key": key, "collection": collection, "value": value, "ttl": seconds})
    elif form == "json":
        echo_json(value, pretty=is_terminal(sys.stdout))
    elif form == "text":
        _echo_text(_as(str, value, "text"))
    else:
        write_bytes(_as(bytes, value, "bytes"))
    return DONE


async def put(
    store: StoreArgument,
    key: KeyArgument,
    value: Annotated[
        str, Parameter(name="VALUE", help="The value; - to read it from standard input.")
    ] = "-",
    /,
    *,
    collection: CollectionOption = None,
    ttl: TTLOption = None,
    form: FormatOption = "json",
    if_absent: Annotated[
        bool, Parameter(help="Write only if there is nothing under the key; else exit code 1.")
    ] = False,
    python: PythonOption = False,
) -> int:
    """Write a value under a key.

    The value is JSON, unless --format says otherwise.
    """
    seconds = parse_ttl(ttl)
    content = _value_of(await read_input() if value == "-" else os.fsencode(value), form)
    async with load(store, python=python, creates=True) as opened:
        if not if_absent:
            await opened.put(key, content, collection=collection, ttl=seconds)
        elif not await opened.put_if_absent(key, content, collection=collection, ttl=seconds):
            complain(f"{shown_name(key)} has a value, which was kept")
            return NO
    return DONE


async def delete(
    store: StoreArgument,
    keys: Annotated[tuple[str, ...], Parameter(name="KEY", help="The keys.")] = (),
    /,
    *,
    collection: CollectionOption = None,
    prefix: PrefixOption = "",
    everything: Annotated[
        bool, Parameter(name="--all", help="All entries of the collection.")
    ] = False,
    yes: YesOption = False,
    json: JSONOption = False,
    python: PythonOption = False,
) -> int:
    """Delete entries by key, by prefix, or all of a collection.

    The exit code is 1 if there was none.
    """
    if bool(keys) + bool(prefix) + everything != 1:
        raise ConfigurationError(
            "delete must have keys, --prefix or --all, and only one kind of them"
        )
    async with load(store, python=python) as opened:
        where = "the default collection" if collection is None else f"collection {collection!r}"
        if keys:
            what = repr(keys[0]) if len(keys) == 1 else f"{len(keys):,} keys"
        else:
            if not await has_collections(opened, [collection]):
                return NO
            count = await opened.count(collection=collection, prefix=prefix)
            what = "1 entry" if count == 1 else f"{count:,} entries"
        if not await confirm(f"delete {what} in {where}?", yes=yes):
            return NO
        if keys:
            deleted = await opened.delete_many(list(keys), collection=collection)
        else:
            deleted = await opened.delete_where(collection=collection, prefix=prefix)
    if json:
        echo_json({"deleted": deleted})
    else:
        echo(f"{deleted:,} deleted")
    return DONE if deleted else NO


async def ttl(
    store: StoreArgument,
    key: KeyArgument,
    /,
    *,
    collection: CollectionOption = None,
    json: JSONOption = False,
    python: PythonOption = False,
) -> int:
    """Print the time to live of an entry in seconds, or "none".

    The exit code is 1 if there is no entry.
    """
    async with load(store, python=python) as opened:
        value, seconds = await opened.ttl(key, collection=collection)
        if value is None and not await opened.exists(key, collection=collection):
            return await _missing(opened, key, collection)
    if json:
        echo_json({"key": key, "collection": collection, "ttl": seconds})
    else:
        echo("none" if seconds is None else f"{seconds:.3f}")
    return DONE


async def expire(
    store: StoreArgument,
    key: KeyArgument,
    seconds: Annotated[str, Parameter(name="TTL", help="As for --ttl of put; none for no expiry.")],
    /,
    *,
    collection: CollectionOption = None,
    python: PythonOption = False,
) -> int:
    """Give an entry a new time to live, from now on.

    The exit code is 1 if there is no entry.
    """
    remaining = None if seconds == "none" else parse_ttl(seconds)
    async with load(store, python=python) as opened:
        if not await opened.expire(key, remaining, collection=collection):
            return await _missing(opened, key, collection)
    return DONE


async def increment(
    store: StoreArgument,
    key: KeyArgument,
    delta: Annotated[int, Parameter(name="DELTA", help="What to add.")] = 1,
    /,
    *,
    collection: CollectionOption = None,
    initial: Annotated[int, Parameter(help="The number to start from where there is nothing.")] = 0,
    ttl: TTLOption = None,
    python: PythonOption = False,
) -> int:
    """Add to an integer, atomically, and print the sum."""
    seconds = parse_ttl(ttl)
    async with load(store, python=python, creates=True) as opened:
        echo_json(
            await opened.increment(key, delta, collection=collection, initial=initial, ttl=seconds)
        )
    return DONE


async def _missing(store: Store, key: str, collection: str | None) -> int:
    where = "the default collection" if collection is None else f"collection {collection!r}"
    complain(f"there is nothing under {key!r} in {where}")
    await has_collections(store, [collection])
    return NO


def _echo_text(text: str) -> None:
    """Print a text: for a person with what steers the terminal escaped, for a program as it is."""
    if is_terminal(sys.stdout):
        echo(text)
    else:
        write_bytes(text.encode())


def _as(kind: type[Any], value: Any, title: str) -> Any:
    if isinstance(value, kind):
        return value
    raise InvalidValue(
        f"--format {title} needs a value of type {kind.__name__}; this one is of type "
        f"{type(value).__name__}: leave it out to print JSON"
    )


def _value_of(data: bytes, form: str) -> Any:
    """Return the value that an argument, or standard input, describes."""
    if form == "bytes":
        return data
    try:
        decoded = data.decode()
    except UnicodeDecodeError:
        raise InvalidValue("the value must be UTF-8; for other bytes, use --format bytes") from None
    if form == "text":
        return decoded
    try:
        return JSON.loads(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidValue(
            f"the value must be JSON ({error}); for a text, use --format text"
        ) from None
