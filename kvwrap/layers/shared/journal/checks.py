"""Checks of a journal's path and of its position in a stack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from kvwrap.core.findings import Finding
from kvwrap.core.layer import Layer
from kvwrap.core.validation import path_text
from kvwrap.errors import ConfigurationError
from kvwrap.layers.shared.findings import encrypted_below, hashed_below


def checked_path(journal: object) -> str:
    """Return the absolute path of a journal; raise `ConfigurationError` for anything else."""
    path = path_text(journal)
    # SQLite keeps a database whose name begins with a colon (":memory:") in memory.
    if path is None or path.startswith(":"):
        raise ConfigurationError(
            f"`journal` must be the path of a file on the disk, such as 'writes.journal'; "
            f"got {journal!r}"
        )
    return str(Path(path).absolute())


def journal_findings(layer: Layer, path: str, below: Sequence[Layer]) -> Iterator[Finding]:
    """Yield the findings about the journal of any layer that has one."""
    if encrypted_below(below):
        yield Finding(
            "plaintext-journal",
            f"{layer.name} is outside the encryption, so its journal {path!r} holds in "
            "plaintext what the backend holds encrypted.",
            f"Put {layer.name} after the encryption in the stack.",
        )
    if hashed_below(below):
        yield Finding(
            "plain-keys-in-journal",
            f"{layer.name} is outside the hashing of keys, so its journal {path!r} holds the names "
            "of keys that the backend holds hashed.",
            f"Put {layer.name} after the hashing in the stack.",
        )
    for other in below:
        if "journals" in other.traits:
            yield Finding(
                "two-journals",
                f"{other.name} acknowledges writes instead of the backend, so {layer.name} never "
                "sees the backend fail.",
                "Remove one of the two.",
            )
