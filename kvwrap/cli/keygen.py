"""`kvwrap keygen`: print a new encryption key."""

from __future__ import annotations

import secrets
import time
from typing import Annotated

from cyclopts import Parameter

from kvwrap.cli.codes import DONE
from kvwrap.cli.output import echo
from kvwrap.errors import ConfigurationError
from kvwrap.keyring import Key
from kvwrap.keyring.key import Algorithm, looks_like_key
from kvwrap.keyring.text import format_keys


def keygen(
    name: Annotated[
        str | None,
        Parameter(
            name="NAME",
            help="The key's name; default: the month and a random part, so that no two are equal.",
        ),
    ] = None,
    /,
    *,
    algorithm: Annotated[Algorithm, Parameter(help="The key's algorithm.")] = "aes-256-gcm",
) -> int:
    """Print a new encryption key as name:base64."""
    if name is not None and (looks_like_key(name) or ":" in name):
        # Not shown: it may be a key, which would then be on the screen and in the shell's history.
        raise ConfigurationError(
            "NAME must be the name of a new key, such as 2026-11; got a text that looks like a key "
            "or has a colon: keygen makes the key itself"
        )
    key = Key.generate(algorithm)
    chosen = name or f"{time.strftime('%Y-%m')}-{secrets.token_hex(3)}"
    echo(format_keys([(chosen, key.algorithm, key.reveal_text())]))
    return DONE
