"""`kvwrap keys`, `collections` and `count`: what a store has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from cyclopts import Parameter

from kvwrap.cli.codes import DONE, NO
from kvwrap.cli.options import (
    CollectionOption,
    JSONOption,
    PrefixOption,
    PythonOption,
    StoreArgument,
)
from kvwrap.cli.output import echo, echo_json, echo_table, shown_name
from kvwrap.cli.stores import has_collections, load
from kvwrap.errors import ConfigurationError

LimitOption = Annotated[int | None, Parameter(help="Maximum number of keys; default: all.")]


async def keys(
    store: StoreArgument,
    /,
    *,
    collection: CollectionOption = None,
    prefix: PrefixOption = "",
    limit: LimitOption = None,
    json: JSONOption = False,
    python: PythonOption = False,
) -> int:
    """Print the keys of a collection, one on a line.

    With --json each line is a JSON string. Else a key with characters that a terminal does not show
    is quoted, with these escaped. The exit code is 1 if there is no such collection.
    """
    if limit is not None and limit < 0:
        raise ConfigurationError(f"`--limit` must be an int of 0 or more; got {limit}")
    count = 0
    async with load(store, python=python) as opened:
        async for key in opened.scan(collection=collection, prefix=prefix):
            if limit is not None and count >= limit:
                break
            count += 1
            _echo_names([key], json)
        if not count and not await has_collections(opened, [collection]):
            return NO
    return DONE


async def collections(
    store: StoreArgument,
    /,
    *,
    count: Annotated[bool, Parameter(help="Count the entries of each, too.")] = False,
    json: JSONOption = False,
    python: PythonOption = False,
) -> int:
    """Print the collections that have entries.

    The default collection has no name, and is left out, except by --count.
    """
    async with load(store, python=python) as opened:
        names = sorted(await opened.collections())
        if not count:
            _echo_names(names, json)
            return DONE
        every: list[str | None] = [None, *names]
        counts = [(name, await opened.count(collection=name)) for name in every]
    if json:
        for name, number in counts:
            echo_json({"collection": name, "count": number})
    else:
        echo_table(
            ("collection", "#entries"), [(shown_name(name), number) for name, number in counts]
        )
    return DONE


def _echo_names(names: Iterable[str], json: bool) -> None:
    for name in names:
        if json:
            echo_json(name)
        else:
            echo(shown_name(name))


async def count(
    store: StoreArgument,
    /,
    *,
    collection: CollectionOption = None,
    prefix: PrefixOption = "",
    json: JSONOption = False,
    python: PythonOption = False,
) -> int:
    """Print the number of entries in a collection.

    The exit code is 1 if there is no such collection.
    """
    async with load(store, python=python) as opened:
        number = await opened.count(collection=collection, prefix=prefix)
        is_there = bool(number) or await has_collections(opened, [collection])
    if json:
        echo_json({"collection": collection, "prefix": prefix, "count": number})
    else:
        echo(number)
    return DONE if is_there else NO
