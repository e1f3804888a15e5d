"""`kvwrap keygen`: print a new encryption key."""

from __future__ import annotations

import argparse
import secrets
import time
from typing import Any

from kvwrap.cli.output import echo
from kvwrap.keyring import Key
from kvwrap.keyring.key import SUITES
from kvwrap.keyring.text import format_keys


def add_commands(commands: Any) -> None:
    """Add `keygen` to the parser's commands."""
    summary = "print a new encryption key as name:base64"
    parser = commands.add_parser("keygen", help=summary, description=summary)
    parser.add_argument(
        "name",
        nargs="?",
        help="the key's name; default: the month and a random part, so that no two are equal",
    )
    parser.add_argument(
        "--algorithm",
        choices=sorted(SUITES),
        default="aes-256-gcm",
        help="the key's algorithm; default: aes-256-gcm",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the key. Returns the exit code."""
    key = Key.generate(options.algorithm)
    name = options.name or f"{time.strftime('%Y-%m')}-{secrets.token_hex(3)}"
    echo(format_keys([(name, key.algorithm, key.reveal_text())]))
    return 0
