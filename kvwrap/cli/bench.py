"""`kvwrap bench`: what a stack costs on its backend."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from kvwrap.cli.codes import DONE
from kvwrap.cli.measuring import Measured, Sizes, measure, measure_layers
from kvwrap.cli.options import JSONOption, PythonOption, StoreArgument
from kvwrap.cli.output import echo_json, echo_table
from kvwrap.cli.stores import file_of, load
from kvwrap.config.load import read_config
from kvwrap.core.validation import checked_count


async def bench(
    store: StoreArgument,
    /,
    *,
    rounds: Annotated[int, Parameter(help="Number of calls of each operation.")] = 200,
    size: Annotated[int, Parameter(help="Size of a value as JSON, in bytes, about.")] = 500,
    json: JSONOption = False,
    python: PythonOption = False,
) -> int:
    """Measure what a stack costs on its backend.

    These are latencies, bytes at rest, and the cost of each layer. Entries are written to a
    collection that nobody has, kvwrap-bench-…, and deleted at the end. The backend has the work of
    a few thousand calls meanwhile.
    """
    checked_count(rounds, "rounds")
    checked_count(size, "size")
    async with load(store, python=python, creates=True) as opened:
        operations, sizes = await measure(opened, rounds, size)
    layers = []
    file = file_of(store)
    if file is not None:
        layers = await measure_layers(
            read_config(file.path, file.name), rounds=rounds, size=size, python=python
        )
    if json:
        echo_json({"operations": operations, "bytes": sizes, "layers": layers})
        return DONE
    echo_table(("operation", "#median us", "#p99 us", "#a second"), map(_row, operations))
    _echo_sizes(sizes)
    if layers:
        echo_table(
            ("layer", "#get us", "#put us"),
            [(each.name, _micro(each.get), _micro(each.put)) for each in layers],
        )
    return DONE


def _row(measured: Measured) -> tuple[Any, ...]:
    return (
        measured.operation,
        _micro(measured.median),
        _micro(measured.p99),
        round(1e6 / measured.median),
    )


def _micro(microseconds: float | None) -> str:
    return "-" if microseconds is None else f"{microseconds:.1f}"


def _echo_sizes(sizes: Sizes) -> None:
    at_rest, share = sizes.at_rest, None
    if at_rest is not None:
        share = f"{100 * at_rest / sizes.value:.0f}"
    echo_table(("#bytes as JSON", "#bytes at rest", "#% of it"), [(sizes.value, at_rest, share)])
