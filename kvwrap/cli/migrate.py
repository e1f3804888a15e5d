"""`kvwrap migrate`: the entries of another system in a store."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Annotated, Literal

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
    YesOption,
)
from kvwrap.cli.output import complain, echo_json, tell
from kvwrap.cli.progress import Bar
from kvwrap.cli.stores import chosen, has_collections, load
from kvwrap.cli.systems import SYSTEMS, Given, source_of
from kvwrap.copying.copy import copy as copy_entries
from kvwrap.copying.report import CopyReport
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError
from kvwrap.layers.prefix_collection import PrefixCollection


def migrate(
    system: Annotated[
        Literal[
            "py-key-value",
            "diskcache",
            "keyvalue-sqlite",
            "django-keyval",
            "great-expectations",
            "steamship",
        ],
        Parameter(name="SYSTEM", help="The system that has the entries."),
    ],
    source: Annotated[
        Place,
        Parameter(
            name="SOURCE",
            help="Where: a folder, a file, a URL, a settings module or an identifier, as the "
            "system has it; or package.module:name.",
        ),
    ],
    target: Annotated[
        Place,
        Parameter(
            name="STORE", help="The store to write: a URL, or a TOML file that describes a stack."
        ),
    ],
    /,
    *,
    into: Annotated[
        str | None,
        Parameter(
            help="The collection of the target for the entries of a system that has no collections."
        ),
    ] = None,
    table: Annotated[
        str | None, Parameter(help="The table of keyvalue-sqlite, if the file has several.")
    ] = None,
    pickle: Annotated[
        bool,
        Parameter(
            help="Read pickles, which can run any code of their writer: for sources whose every "
            "writer is trusted."
        ),
    ] = False,
    json_disk: Annotated[
        bool, Parameter(help="The folder is of a diskcache with disk=JSONDisk.")
    ] = False,
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
    """Copy the entries of another system to a store.

    The source is only read, and what the store returns is compared. The exit code is 1 if some
    failed, and if there is no such collection. After a stop, run the same command again.
    """
    if into is not None and SYSTEMS[system].has_collections:
        raise ConfigurationError(f"--into must be left out for {system}, which has collections")
    collections = chosen(collection)
    goal = load(target, python=python, creates=True)
    if into is not None:
        goal = PrefixCollection(into).over(goal)

    async def copy_from(origin: Store) -> CopyReport | None:
        if existing == "replace" and not await confirm(
            "replace the values that the target has under the same keys?", yes=yes
        ):
            return None
        async with AsyncExitStack() as opened:
            await opened.enter_async_context(made)
            await opened.enter_async_context(origin)
            if not await has_collections(origin, collections):
                return None
            await opened.enter_async_context(goal)
            with Bar("migrate", quiet=quiet) as bar:
                await bar.measure(origin, prefix, collections)
                return await copy_entries(
                    origin,
                    goal,
                    prefix=prefix,
                    collections=collections,
                    existing=existing,
                    batch=batch,
                    progress=bar,
                    resume=state,
                )

    made = AsyncExitStack()
    # Outside of the loop: a module of the user's may run one when it is imported.
    origin = source_of(system, Given(source, table, pickle, json_disk), made)
    report = asyncio.run(copy_from(origin))
    if report is None:
        return NO
    if json:
        echo_json(report)
    else:
        tell(report)
    if report.left and system == "diskcache" and not pickle:
        complain(
            "what was left are pickles, which --pickle reads if you trust every writer, or it is "
            "under keys that are no text"
        )
    return NO if report.failed else DONE
