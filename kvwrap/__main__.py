"""The command line: `kvwrap`, or `python -m kvwrap`.

    kvwrap keygen 2026-11             a new key, as Keyring.from_env and from_file read it
    kvwrap report  store.toml         which keys and dictionaries the entries still need
    kvwrap rewrite store.toml         bring every entry into its present form

The file describes the stack and its backend, as `kvwrap.from_config` reads it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence

from kvwrap.config.stacks import from_config
from kvwrap.errors import KvwrapError
from kvwrap.keyring import Key
from kvwrap.keyring.key import SUITES
from kvwrap.keyring.text import written
from kvwrap.rewrite import Progress, Report, rewrite

FAILED = 1
"""Exit code when some entries could not be rewritten."""

REFUSED = 2
"""Exit code when nothing could be done at all, as argparse has it for wrong arguments."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, and give back the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.command == "keygen":
            key = Key.generate(asked.algorithm)
            print(written([(asked.name, key.algorithm, key.reveal_text())]))
            return 0
        report = asyncio.run(_rewrite(asked))
    except KvwrapError as error:
        print(f"kvwrap: {error}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("\nkvwrap: interrupted; run it again to go on", file=sys.stderr)
        return REFUSED
    print(report)
    return FAILED if report.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kvwrap", description="Keys, and stores under keys.")
    commands = parser.add_subparsers(dest="command", required=True)

    keygen = commands.add_parser("keygen", help="print a new encryption key as name:base64")
    keygen.add_argument("name", nargs="?", default=time.strftime("%Y-%m"), help="the key's name")
    keygen.add_argument("--algorithm", choices=sorted(SUITES), default="aes-256-gcm")

    for name, what in (
        ("rewrite", "bring every entry into the form in which the stack writes now"),
        ("report", "say which keys and dictionaries the entries still need; nothing is written"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("config", help="a TOML file that describes the stack and its store")
        command.add_argument(
            "--collection",
            action="append",
            help="one to go through, repeatable, '' being the default one; all if left out",
        )
        command.add_argument("--batch", type=int, default=100, help="keys in one round trip")
        command.add_argument("--state", help="file to keep the state in, to go on after a stop")
        command.add_argument("--quiet", action="store_true", help="no progress on stderr")
        if name == "rewrite":
            command.add_argument(
                "--exclusive",
                action="store_true",
                help="nobody else writes meanwhile: for stores that cannot compare versions",
            )
    return parser


async def _rewrite(asked: argparse.Namespace) -> Report:
    collections = asked.collection and [name or None for name in asked.collection]
    async with from_config(asked.config) as store:
        report = await rewrite(
            store,
            collections=collections,
            batch=asked.batch,
            progress=None if asked.quiet else _Line(),
            resume=asked.state,
            dry_run=asked.command == "report",
            exclusive=getattr(asked, "exclusive", False),
        )
    if not asked.quiet:
        print(file=sys.stderr)
    return report


class _Line:
    """One line on stderr that tells how far it is, a few times a second."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last < 0.2:
            return
        self._last = now
        report = progress.report
        rate = report.seen / (now - self._start)
        where = "default collection" if progress.collection is None else progress.collection
        line = f"{report.seen:,} seen, {report.rewritten:,} rewritten, {rate:,.0f}/s, in {where}"
        print(f"\r{line[:100]:<100}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
