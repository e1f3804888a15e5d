"""Where a journal may be: as a file, and in a stack."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from kvwrap.core.findings import Finding
from kvwrap.core.layer import Layer
from kvwrap.errors import ConfigurationError
from kvwrap.layers.shared.findings import encrypted_below


def checked_path(journal: object) -> str:
    """The path of a journal; raises `ConfigurationError` for what is none."""
    if not isinstance(journal, str | os.PathLike) or not os.fspath(journal):
        raise ConfigurationError(f"a journal is the path of a file, not {journal!r}")
    path = os.fspath(journal)
    if not isinstance(path, str) or path.startswith(":"):
        raise ConfigurationError(f"a journal is the path of a file, not {journal!r}")
    return path


def journal_findings(layer: Layer, path: str, below: Sequence[Layer]) -> Iterator[Finding]:
    """What can be said of a journal's place, whichever layer keeps it."""
    if encrypted_below(below):
        yield Finding(
            "plaintext-journal",
            f"{layer.name} lies outside the encryption, so its journal {path!r} holds in "
            "plaintext what the backend holds encrypted.",
            f"Put {layer.name} after the encryption in the stack.",
        )
    for other in below:
        if "journals" in other.traits:
            yield Finding(
                "two-journals",
                f"{other.name} acknowledges for the backend, so {layer.name} never sees it fail.",
                "Leave one of the two.",
            )
