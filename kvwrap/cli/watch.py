"""`kvwrap watch`: changes as they happen."""

from __future__ import annotations

import time
from typing import Annotated

from cyclopts import Parameter

from kvwrap.cli.codes import DONE
from kvwrap.cli.options import JSONOption, PrefixOption, PythonOption, StoreArgument
from kvwrap.cli.output import echo, echo_json, shown_name
from kvwrap.cli.stores import load
from kvwrap.core.changes import ALL
from kvwrap.core.validation import checked_count


async def watch(
    store: StoreArgument,
    /,
    *,
    collection: Annotated[
        str | None,
        Parameter(name=["--collection", "-c"], help="Only this, '' for the default one."),
    ] = None,
    prefix: PrefixOption = "",
    limit: Annotated[
        int | None, Parameter(help="Number of changes to end after; default: never.")
    ] = None,
    json: JSONOption = False,
    python: PythonOption = False,
) -> int:
    """Print changes as they happen, until Ctrl-C.

    They are those that any process makes. After "lost", any of the entries may have changed.
    """
    left = None if limit is None else checked_count(limit, "--limit")
    scope = ALL if collection is None else collection or None
    async with (
        load(store, python=python) as opened,
        opened.watch(collection=scope, prefix=prefix) as changes,
    ):
        async for change in changes:
            if json:
                echo_json(change)
            elif change.key is None:
                echo(f"{time.strftime('%H:%M:%S')}  {change.kind.value}")
            else:
                names = f"{shown_name(change.collection)}  {shown_name(change.key)}"
                echo(f"{time.strftime('%H:%M:%S')}  {change.kind.value:<8} {names}")
            if left is not None:
                left -= 1
                if left <= 0:
                    break
    return DONE
