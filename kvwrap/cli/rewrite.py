"""`kvwrap rewrite` and `kvwrap inspect`: rewrite the entries of a store, or report on them."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from kvwrap.cli.codes import DONE, NO
from kvwrap.cli.options import (
    BatchOption,
    CollectionsOption,
    JSONOption,
    PrefixOption,
    PythonOption,
    QuietOption,
    StateOption,
    StoreArgument,
)
from kvwrap.cli.output import echo_json, tell
from kvwrap.cli.progress import Bar
from kvwrap.cli.stores import chosen, has_collections, load
from kvwrap.rewriting.rewrite import rewrite as rewrite_entries


async def rewrite(
    store: StoreArgument,
    /,
    *,
    collection: CollectionsOption = None,
    prefix: PrefixOption = "",
    dry_run: Annotated[bool, Parameter(help="Write nothing, and report what would be.")] = False,
    batch: BatchOption = 100,
    state: StateOption = None,
    exclusive: Annotated[
        bool, Parameter(help="There is no other writer: for stores that cannot compare versions.")
    ] = False,
    everything: Annotated[
        bool,
        Parameter(
            help="No other program uses the store: for the default collection with raw=true."
        ),
    ] = False,
    json: JSONOption = False,
    quiet: QuietOption = False,
    python: PythonOption = False,
) -> int:
    """Rewrite entries in the form in which a stack writes now.

    The exit code is 1 if some could not be rewritten, and if there is no such collection. After a
    stop, run the same command again.
    """
    collections = chosen(collection)
    async with load(store, python=python) as opened:
        if not await has_collections(opened, collections):
            return NO
        with Bar("inspect" if dry_run else "rewrite", quiet=quiet) as bar:
            await bar.measure(opened, prefix, collections)
            report = await rewrite_entries(
                opened,
                prefix=prefix,
                collections=collections,
                everything=everything,
                batch=batch,
                progress=bar,
                resume=state,
                dry_run=dry_run,
                exclusive=exclusive,
            )
    if json:
        echo_json(
            {
                "report": report,
                "keys": report.keys,
                "dictionaries": report.dictionaries,
                "retirable": report.retirable,
            }
        )
    else:
        tell(report)
    return NO if report.failed else DONE


async def inspect(
    store: StoreArgument,
    /,
    *,
    collection: CollectionsOption = None,
    prefix: PrefixOption = "",
    batch: BatchOption = 100,
    state: StateOption = None,
    json: JSONOption = False,
    quiet: QuietOption = False,
    python: PythonOption = False,
) -> int:
    """Report which keys and dictionaries entries still need.

    Nothing is written. The exit code is 1 if some entries could not be read, and if there is no
    such collection.
    """
    return await rewrite(
        store,
        collection=collection,
        prefix=prefix,
        dry_run=True,
        batch=batch,
        state=state,
        json=json,
        quiet=quiet,
        python=python,
    )
