"""`kvwrap check`: whether a stack is sound, and its backends respond."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from kvwrap.cli.codes import DONE, NO
from kvwrap.cli.options import JSONOption, PythonOption, StoreArgument
from kvwrap.cli.output import echo_json, echo_table, tell
from kvwrap.cli.stores import as_tool, build, file_of
from kvwrap.config.load import stack_names
from kvwrap.core.deadlines import time_limit
from kvwrap.core.described import redact
from kvwrap.core.health import Reached, chains, reach
from kvwrap.core.part import Part
from kvwrap.core.store import Store
from kvwrap.core.validation import checked_seconds
from kvwrap.errors import KvwrapError, StackWarning
from kvwrap.rewriting.sample import sample


class Checked(msgspec.Struct):
    """One thing that was checked.

    Attributes:
        stack: The STORE that it belongs to.
        part: What was checked: a backend by its role and name, or the code of a finding.
        mend: What to mend; `None` if all is well.
        seconds: How long the backend took to respond.
        to_come: What is not there yet, and is no mistake if the application has not run; `None`
            if everything is there.
    """

    stack: str
    part: str
    mend: str | None = None
    seconds: float | None = None
    to_come: str | None = None

    @property
    def result(self) -> str:
        """The result in a word or two."""
        if self.mend:
            return "to mend"
        return "not there yet" if self.to_come else "ok"


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
    """Check a stack, its backends, and a sample of entries.

    The stack must have no findings, every backend must respond, and some entries are read. Without
    #NAME, all stacks of the file are checked. The exit code is 1 if something is to be mended: for
    health checks, and for CI. A file, table or the like that is not there yet, and can be created,
    is told and is no mistake.
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
    for each in results:
        each.stack = _shown(each.stack)
    failed = any(each.mend for each in results)
    if json:
        echo_json({"ok": not failed, "checks": results})
        return NO if failed else DONE
    echo_table(
        ("stack", "part", "result", "#ms"),
        [
            (
                each.stack,
                each.part,
                each.result,
                None if each.seconds is None else each.seconds * 1000,
            )
            for each in results
        ],
    )
    for each in results:
        if told := each.mend or each.to_come:
            tell(f"{each.stack}: {each.part}: {each.result}: {told}")
    return NO if failed else DONE


def _shown(store: str) -> str:
    """Return a STORE without what may be a secret in it, however it is mistyped."""
    if "://" in store:
        return redact(store).partition("?")[0]
    is_file = Path(store.partition("#")[0]).exists()
    return "STORE" if "@" in store and not is_file else store


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
            stack = build(target, python=python)
    except KvwrapError as error:
        return [Checked(target, "configuration", redact(str(error)))]
    findings = [
        Checked(target, f"{role}{finding.code}", f"{finding.message} {finding.hint}")
        for role, chain in chains(stack)
        for finding in chain.findings
    ]
    journals = [
        _of_journal(target, layer)
        for layer in stack.layers
        if "journals" in layer.traits and "journal" in layer.arguments
    ]
    stack = as_tool(stack, creates=False)
    reached = [_of_backend(target, each) for each in await reach(stack, limit)]
    sampled = [] if any(map(_is_trouble, reached)) else await _sample(target, stack, limit)
    return [*findings, *journals, *reached, *sampled]


def _of_journal(target: str, layer: Part) -> Checked:
    """Check that a layer's journal is there or can be created; the application alone opens it."""
    path = Path(layer.arguments["journal"])
    checked = Checked(target, f"journal {str(path)!r} of {layer.name}")
    if not path.exists():
        if os.access(path.parent, os.W_OK | os.X_OK):
            checked.to_come = "the application creates it when it opens the stack"
        else:
            checked.mend = "its folder must exist and be one in which this user may create files"
    return checked


def _of_backend(target: str, reached: Reached) -> Checked:
    return Checked(
        target,
        f"{reached.role}{reached.part}",
        None if reached.is_to_come else reached.error,
        reached.seconds,
        reached.error if reached.is_to_come else None,
    )


def _is_trouble(checked: Checked) -> bool:
    return bool(checked.mend or checked.to_come)


async def _sample(target: str, stack: Store, limit: float) -> list[Checked]:
    """Check that the stack's keys open some of its entries, where it can list any."""
    begin = time.perf_counter()
    try:
        with time_limit(limit):
            async with stack:
                found = await sample(stack)
    except TimeoutError:
        return []  # listing takes longer in some backends, and all of them have responded
    except KvwrapError as error:
        return [Checked(target, "a sample of entries", redact(str(error)))]
    if not found.read:
        return []
    part = f"a sample of entries ({found.read})"
    mend = None if found.error is None else redact(str(found.error))
    return [Checked(target, part, mend, time.perf_counter() - begin)]
