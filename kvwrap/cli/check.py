"""`kvwrap check`: whether a stack is sound, and its backends respond."""

from __future__ import annotations

import warnings
from typing import Annotated

import msgspec
from cyclopts import Parameter

from kvwrap.cli.codes import DONE, NO
from kvwrap.cli.options import JSONOption, PythonOption, StoreArgument
from kvwrap.cli.output import echo, echo_json, echo_table
from kvwrap.cli.stores import file_of, load
from kvwrap.config.load import stack_names
from kvwrap.core.described import redact
from kvwrap.core.health import chains, reach
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
    findings = [
        Checked(target, f"{role}{finding.code}", f"{finding.message} {finding.hint}")
        for role, chain in chains(stack)
        for finding in chain.findings
    ]
    return findings + [
        Checked(target, f"{each.role}{each.part}", each.error, each.seconds)
        for each in await reach(stack, limit)
    ]
