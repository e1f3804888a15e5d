"""`kvwrap top`: what a stack does, live."""

from __future__ import annotations

import asyncio
import stat
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from kvwrap.cli.codes import DONE
from kvwrap.cli.live import Reading, changes_of, operations_of, read_socket, read_store
from kvwrap.cli.options import JSONOption, Place, PythonOption
from kvwrap.cli.output import echo_json, echo_table, is_terminal, rich_table, tell
from kvwrap.cli.readings import Table, tables_of
from kvwrap.cli.stores import load
from kvwrap.core.store import Store
from kvwrap.core.text import printable
from kvwrap.core.validation import checked_seconds
from kvwrap.errors import ConfigurationError, StoreUnavailable
from kvwrap.layers.statistics import Statistics
from kvwrap.layers.statistics.sockets import PROCESS, is_dead, siblings

_LEAST_ROWS = 3
_FRAME = 3  # lines of a table besides its rows


async def top(
    store: Annotated[
        Place,
        Parameter(
            name="STORE",
            help="The Unix socket of a process, a TOML file whose layer statistics has a socket, "
            "or any store, which is then opened here and checked.",
        ),
    ],
    /,
    *,
    interval: Annotated[float, Parameter(help="Seconds between two readings.")] = 2.0,
    once: Annotated[bool, Parameter(help="Print one reading and end.")] = False,
    json: JSONOption = False,
    python: PythonOption = False,
) -> int:
    """Show what a stack does, live, until Ctrl-C.

    These are operations, hit rates, latencies, and the figures of each layer. Rates and latencies
    are those since the reading before. The process that is shown opens its socket with
    Statistics(socket=...). The exit code is 130 after Ctrl-C, and 3 if the process has ended.
    """
    checked_seconds(interval, "--interval")
    async with aclosing(_readings(store, interval, python)) as readings:
        if once or json or not is_terminal(sys.stdout):
            before = None
            async for reading in readings:
                _tell(reading, before, json=json)
                before = reading
                if once:
                    break
        else:
            await _show(readings)
    return DONE


async def _readings(target: str, interval: float, python: bool) -> AsyncGenerator[Reading, None]:
    path = _socket_of(target)
    store = None if path else load(target, python=python)
    if store is not None:
        path = _socket_in(store)
    if path is not None:
        while True:
            yield await read_socket(path)
            await asyncio.sleep(interval)
    assert store is not None
    if not any(isinstance(layer, Statistics) for layer in store.layers):
        store = Statistics().over(store)
    async with store:
        while True:
            yield await read_store(store)
            await asyncio.sleep(interval)


def _socket_of(target: str) -> str | None:
    """Return the path if it is a socket."""
    try:
        return target if stat.S_ISSOCK(Path(target).stat().st_mode) else None
    except (OSError, ValueError):
        return None


def _socket_in(store: Store) -> str | None:
    """Return the socket that a stack's statistics have, of the process that runs."""
    for layer in store.layers:
        if isinstance(layer, Statistics) and layer.socket is not None:
            if PROCESS not in layer.socket:
                return layer.socket
            found = [each for each in siblings(layer.socket) if not is_dead(each)]
            if len(found) > 1:
                raise ConfigurationError(
                    "STORE must be the socket of one process; there are several: "
                    + ", ".join(found)
                )
            if not found:
                raise StoreUnavailable(f"no process serves figures at {layer.socket}")
            return found[0]
    return None


# -- tables ----------------------------------------------------------------------------------


def _tell(reading: Reading, before: Reading | None, *, json: bool) -> None:
    if json:
        echo_json(
            {
                "process": reading.process,
                "time": reading.time,
                "seconds": reading.seconds,
                "parts": reading.parts,
                "trouble": reading.trouble,
                "operations": operations_of(reading, before),
                "figures": changes_of(reading, before),
            }
        )
        return
    tell(_title(reading))
    for columns, rows in tables_of(reading, before, plain=not is_terminal(sys.stdout)):
        echo_table(columns, rows)


async def _show(readings: AsyncIterator[Reading]) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    before = None
    with Live(auto_refresh=False, screen=False) as live:
        async for reading in readings:
            title = Text(printable(_title(reading)))
            console = live.console
            tables = tables_of(reading, before, plain=False)
            lines = console.height - len(title.wrap(console, console.width))
            limits = _shares([len(rows) for _, rows in tables], lines - _FRAME * len(tables) - 1)
            shown = [_shortened(table, limit) for table, limit in zip(tables, limits)]
            live.update(Group(title, *shown), refresh=True)
            before = reading


def _shares(wanted: Sequence[int], lines: int) -> list[int]:
    """Return how many rows each table shows: fair shares of the lines that there are."""
    shares = dict.fromkeys(range(len(wanted)), 0)
    left = lines
    for count, index in enumerate(sorted(shares, key=lambda each: wanted[each])):
        fair = max(_LEAST_ROWS, left // (len(wanted) - count))
        shares[index] = min(wanted[index], fair)
        left -= shares[index]
    return list(shares.values())


def _title(reading: Reading) -> str:
    stacks = ", ".join(dict.fromkeys(figure.stack for figure in reading.figures)) or "kvwrap"
    parts = " > ".join(reading.parts)
    since = "" if reading.seconds is None else f", counting for {_duration(reading.seconds)}"
    trouble = "" if reading.trouble is None else f"\nnot available: {reading.trouble}"
    return f"{stacks}: process {reading.process}{since}\n{parts}{trouble}"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _shortened(table: Table, limit: int) -> Any:
    columns, rows = table
    if len(rows) <= limit:
        return rich_table(columns, rows, one_line=True)
    more = f"and {len(rows) - limit + 1} more, which --once prints"
    return rich_table(columns, rows[: limit - 1], one_line=True, caption=more)
