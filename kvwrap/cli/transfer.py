"""`kvwrap export` and `import`: entries as lines of JSON."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

from cyclopts import Parameter

from kvwrap.cli.codes import DONE, NO
from kvwrap.cli.input import confirm, open_input
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
from kvwrap.cli.output import echo_json, is_terminal, standard_output, tell
from kvwrap.cli.progress import Bar
from kvwrap.cli.stores import chosen, has_collections, load
from kvwrap.copying.exporting import export_lines
from kvwrap.copying.importing import import_lines
from kvwrap.core.threads import run_in_thread
from kvwrap.errors import ConfigurationError


async def export(
    store: StoreArgument,
    file: Annotated[
        Place, Parameter(name="FILE", help="The file to write; - for standard output.")
    ] = "-",
    /,
    *,
    collection: CollectionsOption = None,
    prefix: PrefixOption = "",
    batch: BatchOption = 100,
    yes: YesOption = False,
    json: JSONOption = False,
    quiet: QuietOption = False,
    python: PythonOption = False,
) -> int:
    """Write entries as lines of JSON.

    A line has the collection, the key, the value, and when it expires.

    FILE.part and FILE.state hold an export until it is complete: after a stop, run the same
    command again. FILE is for you alone, since it has values that the store may encrypt. The exit
    code is 1 if some entries could not be read, and if there is no such collection.
    """
    collections = chosen(collection)
    to_file = file != "-"
    if to_file and not await _may_write(file, yes=yes):
        return NO
    state = f"{file}.state" if to_file else None
    async with load(store, python=python) as opened:
        if not await has_collections(opened, collections):
            return NO
        is_among_lines = not to_file and is_terminal(sys.stdout)
        with _sink(file) as sink, Bar("export", quiet=quiet or is_among_lines) as bar:
            await bar.measure(opened, prefix, collections)
            report = await export_lines(
                opened,
                sink,
                prefix=prefix,
                collections=collections,
                batch=batch,
                progress=bar,
                resume=state,
            )
    # The lines themselves are on standard output.
    stream = sys.stdout if to_file else sys.stderr
    if json:
        echo_json(report, file=stream)
    elif to_file or not quiet:
        tell(report, file=stream)
    return NO if report.failed else DONE


async def _may_write(file: str, *, yes: bool) -> bool:
    path = Path(file)
    if not await run_in_thread(path.exists):
        return True
    if not await run_in_thread(path.is_file):
        raise ConfigurationError(
            f"FILE must be the path of a file; {file!r} is a folder, or no file: name another one, "
            "or - for standard output"
        )
    return await confirm(f"replace the file {file!r}?", yes=yes)


@contextmanager
def _sink(file: str) -> Iterator[BinaryIO]:
    """Open what an export writes to. A file gets its name when it is complete."""
    if file == "-":
        yield standard_output()
        return
    part = Path(f"{file}.part")
    # Values are written there in the clear, perhaps in a folder that others write to as well.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(part, flags, 0o600)
    except OSError as error:
        raise ConfigurationError(f"{file!r} cannot be written ({error.strerror})") from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
        os.close(descriptor)
        raise ConfigurationError(
            f"{str(part)!r} must be a file of this user alone, or not be there; it is another's, a "
            "link or no file: remove it, or export into another folder"
        )
    os.fchmod(descriptor, 0o600)
    with os.fdopen(descriptor, "r+b") as opened:
        yield opened
    part.replace(file)


async def import_(
    store: StoreArgument,
    file: Annotated[
        Place, Parameter(name="FILE", help="The file to read; - for standard input.")
    ] = "-",
    /,
    *,
    existing: ExistingOption = "keep",
    batch: BatchOption = 100,
    state: StateOption = None,
    yes: YesOption = False,
    json: JSONOption = False,
    quiet: QuietOption = False,
    python: PythonOption = False,
) -> int:
    """Put the entries of lines of JSON into a store.

    Lines are of the form that export writes. What the store returns for them is compared. The exit
    code is 1 if some could not be put; the others are. After a stop, run the same command again.
    """
    if existing == "replace" and not await confirm(
        "replace the values that the store has under the same keys?", yes=yes
    ):
        return NO
    with open_input(file) as source, Bar("import", quiet=quiet) as bar:
        async with load(store, python=python, creates=True) as opened:
            report = await import_lines(
                source,
                opened,
                source=_place_of(file),
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


def _place_of(file: str) -> str:
    """Return what a state calls the file."""
    return "standard input" if file == "-" else str(Path(file).resolve())
