"""`kvwrap copy`: the entries of one store in another."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Annotated

from cyclopts import Parameter

from kvwrap.cli.codes import DONE, NO
from kvwrap.cli.input import confirm
from kvwrap.cli.options import (
    BatchOption,
    CollectionsOption,
    ExistingOption,
    JSONOption,
    Place,
    PrefixOption,
    PythonOption,
    QuietOption,
    StateOption,
    StoreArgument,
    YesOption,
)
from kvwrap.cli.output import echo_json, tell
from kvwrap.cli.progress import Bar
from kvwrap.cli.stores import chosen, has_collections, load
from kvwrap.copying.copy import copy as copy_entries


async def copy(
    store: StoreArgument,
    target: Annotated[Place, Parameter(name="TARGET", help="The store to write, likewise.")],
    /,
    *,
    collection: CollectionsOption = None,
    prefix: PrefixOption = "",
    existing: ExistingOption = "keep",
    batch: BatchOption = 100,
    state: StateOption = None,
    yes: YesOption = False,
    json: JSONOption = False,
    quiet: QuietOption = False,
    python: PythonOption = False,
) -> int:
    """Copy entries to another store, and verify them.

    What the other store returns for them is compared. The exit code is 1 if some failed, and if
    there is no such collection. After a stop, run the same command again.
    """
    collections = chosen(collection)
    if existing == "replace" and not await confirm(
        "replace the values that the target has under the same keys?", yes=yes
    ):
        return NO
    async with AsyncExitStack() as opened:
        source = await opened.enter_async_context(load(store, python=python))
        if not await has_collections(source, collections):
            return NO
        goal = await opened.enter_async_context(load(target, python=python, creates=True))
        with Bar("copy", quiet=quiet) as bar:
            await bar.measure(source, prefix, collections)
            report = await copy_entries(
                source,
                goal,
                prefix=prefix,
                collections=collections,
                existing=existing,
                batch=batch,
                progress=bar,
                resume=state,
            )
    if json:
        echo_json(report)
    else:
        tell(report)
    return NO if report.failed else DONE
