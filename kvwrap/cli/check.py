"""`kvwrap check`: whether a stack is sound, and its backends respond."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Iterator
from typing import Annotated

import msgspec
from cyclopts import Parameter

from kvwrap.cli.codes import DONE, NO
from kvwrap.cli.options import JSONOption, PythonOption, StoreArgument
from kvwrap.cli.output import echo, echo_json, echo_table
from kvwrap.cli.stores import file_of, load
from kvwrap.config.load import stack_names
from kvwrap.core.described import redact
from kvwrap.core.part import Chain
from kvwrap.core.store import Store
from kvwrap.core.validation import checked_seconds
from kvwrap.errors import KvwrapError, StackWarning


class Checked(msgspec.Struct):
    """One thing that was checked.

    Attributes:
        stack: The STORE that it belongs to.
        part: What was checked: a backend by its role and name, or the code of a finding.
        mend: What to mend; `None` if all is well.
        seconds: How long the backend took to respond.
    """

    stack: str
    part: str
    mend: str | None = None
    seconds: float | None = None


async def check(
    store: StoreArgument,
    /,
    *,
    seconds: Annotated[
        float, Parameter(name="--timeout", help="Seconds that each backend has to respond.")
    ] = 10.0,
    json: JSONOption = False,
    python: PythonOption = False,
) -> int:
    """Check that a stack has no findings, and that every backend responds.

    Without #NAME, all stacks of the file are checked. The exit code is 1 if something is to be
    mended: for health checks, and for CI.
    """
    checked_seconds(seconds, "--timeout")
    results: list[Checked] = []
    try:
        targets = _targets(store)
    except KvwrapError as error:
        results.append(Checked(store, "configuration", redact(str(error))))
        targets = []
    for target in targets:
        results += await _check(target, seconds, python)
    failed = any(each.mend for each in results)
    if json:
        echo_json({"ok": not failed, "checks": results})
        return NO if failed else DONE
    echo_table(
        ("stack", "part", "result", "#ms"),
        [
            (
                redact(each.stack),
                each.part,
                "to mend" if each.mend else "ok",
                None if each.seconds is None else each.seconds * 1000,
            )
            for each in results
        ],
    )
    for each in results:
        if each.mend:
            echo(f"{redact(each.stack)}: {each.part}: {each.mend}")
    return NO if failed else DONE


def _targets(store: str) -> list[str]:
    """Return the STORE of each stack that this one stands for."""
    file = file_of(store)
    if file is None or file.name is not None:
        return [store]
    return [f"{file.path}#{name}" for name in stack_names(file.path)] or [store]


async def _check(target: str, limit: float, python: bool) -> list[Checked]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StackWarning)  # they are among the findings
            stack = load(target, python=python)
    except KvwrapError as error:
        return [Checked(target, "configuration", redact(str(error)))]
    results = [
        Checked(target, f"{role}{finding.code}", f"{finding.message} {finding.hint}")
        for role, chain in _chains(stack)
        for finding in chain.findings
    ]
    for role, chain in _chains(stack):
        backend = chain.parts[-1]
        assert isinstance(backend, Store)
        results.append(await _reach(target, f"{role}{backend.location}", backend, limit))
    if stack.layers and not any(each.mend for each in results):
        # What the layers open: keys that are fetched, dictionaries, journals.
        results.append(await _reach(target, "the whole stack", stack, limit))
    return results


async def _reach(target: str, part: str, store: Store, limit: float) -> Checked:
    checked = Checked(target, part)
    begin = time.perf_counter()
    try:
        async with asyncio.timeout(limit), store:
            await store.check()
    except TimeoutError as error:
        checked.mend = (
            redact(str(error)) if isinstance(error, KvwrapError) else f"no answer in {limit:g} s"
        )
    except KvwrapError as error:
        checked.mend = redact(str(error))
    else:
        checked.seconds = time.perf_counter() - begin
    return checked


def _chains(chain: Chain, roles: str = "") -> Iterator[tuple[str, Chain]]:
    """Iterate over a chain and those of its second stores, each with its roles."""
    yield roles, chain
    for part in chain.parts:
        for role, second in part.second_stores:
            yield from _chains(second, f"{roles}{role}: ")
