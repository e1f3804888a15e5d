"""`kvwrap rewrite` and `kvwrap inspect`: rewrite the entries of a store, or report on them."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import Any

from kvwrap.cli.output import echo
from kvwrap.config.load import from_config
from kvwrap.rewriting.rewrite import Progress, Report, rewrite

FAILED = 1
"""Exit code if some entries could not be rewritten."""

_PROGRESS_INTERVAL = 0.2
"""Seconds between two updates of the progress line."""


def add_commands(commands: Any) -> None:
    """Add `rewrite` and `inspect` to the parser's commands."""
    for name, summary in (
        ("rewrite", "rewrite every entry in the form in which the stack writes now"),
        ("inspect", "report which keys and dictionaries the entries still need; write nothing"),
    ):
        parser = commands.add_parser(name, help=summary, description=summary)
        parser.add_argument("config", help="a TOML file that describes the stack and its store")
        parser.add_argument(
            "--collection",
            action="append",
            help="a collection to include, repeatable, '' for the default one; default: all",
        )
        parser.add_argument("--prefix", default="", help="only keys that begin with this")
        parser.add_argument("--batch", type=int, default=100, help="keys in one round trip")
        parser.add_argument("--state", help="file for the state, to resume after a stop")
        parser.add_argument("--quiet", action="store_true", help="print no progress on stderr")
        parser.set_defaults(run=run, exclusive=False, everything=False)
        if name == "rewrite":
            parser.add_argument(
                "--exclusive",
                action="store_true",
                help="there is no other writer: for stores that cannot compare versions",
            )
            parser.add_argument(
                "--everything",
                action="store_true",
                help="no other program uses the store: for the default collection with raw=true",
            )


def run(options: argparse.Namespace) -> int:
    """Rewrite or inspect, and print the report. Returns the exit code."""
    report = asyncio.run(_rewrite(options))
    echo(report)
    return FAILED if report.failed else 0


async def _rewrite(options: argparse.Namespace) -> Report:
    collections = options.collection and [name or None for name in options.collection]
    async with from_config(options.config) as store:
        report = await rewrite(
            store,
            prefix=options.prefix,
            collections=collections,
            everything=options.everything,
            batch=options.batch,
            progress=None if options.quiet else _ProgressLine(),
            resume=options.state,
            dry_run=options.command == "inspect",
            exclusive=options.exclusive,
        )
    if not options.quiet:
        echo(file=sys.stderr)
    return report


class _ProgressLine:
    """One line of progress on stderr, updated a few times a second."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()

    def __call__(self, progress: Progress[Report]) -> None:
        now = time.monotonic()
        if now - self._last < _PROGRESS_INTERVAL:
            return
        self._last = now
        report = progress.report
        rate = report.seen / (now - self._start)
        name = "default collection" if progress.collection is None else repr(progress.collection)
        line = f"{report.seen:,} seen, {report.rewritten:,} rewritten, {rate:,.0f}/s, in {name}"
        echo(f"{line[:100]:<100}", file=sys.stderr, start="\r", end="")
