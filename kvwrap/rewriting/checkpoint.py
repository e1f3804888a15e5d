"""The position of a rewrite, as JSON, to resume from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from kvwrap.core.primitives import Collection
from kvwrap.errors import ConfigurationError
from kvwrap.rewriting.report import Report

Resume = str | os.PathLike[str] | Mapping[str, Any]
"""The path of a checkpoint file, or a state from `Progress.state`."""


class Checkpoint(msgspec.Struct):
    """The position of a rewrite.

    Attributes:
        target: The form that entries are rewritten to; another target starts over.
        done: The finished collections, each with the name of its scope.
        scope: The name of the current scope.
        collection: The current collection of that scope.
        last_key: The last finished key of that collection, if the store keeps keys in order.
        report: The report so far.
        format: The version of this format.
    """

    target: list[str]
    done: list[tuple[str, Collection]] = msgspec.field(default_factory=list)
    # The JSON has these two under the names "place" and "after".
    scope: str | None = msgspec.field(default=None, name="place")
    collection: Collection = None
    last_key: str | None = msgspec.field(default=None, name="after")
    report: Report = msgspec.field(default_factory=Report)
    format: int = 1

    def begin(self, scope: str, collection: Collection) -> None:
        """Set the current collection. The last key stays if it is the same collection."""
        if (scope, collection) != (self.scope, self.collection):
            self.scope, self.collection, self.last_key = scope, collection, None

    def finish(self, scope: str, collection: Collection) -> None:
        """Record the collection as finished."""
        self.done.append((scope, collection))
        self.scope = self.collection = self.last_key = None


class CheckpointFile:
    """Loads the checkpoint of an earlier run, and saves new ones if it has a path.

    Args:
        resume: The path of the file, a state that was stored elsewhere, or `None`.
    """

    def __init__(self, resume: Resume | None) -> None:
        self._state = resume if isinstance(resume, Mapping) else None
        path = None if resume is None or isinstance(resume, Mapping) else Path(resume)
        self._path = path

    def load(self, initial: Checkpoint) -> Checkpoint:
        """Return the earlier checkpoint if it is of the same rewrite, else the initial one.

        Raises:
            ConfigurationError: There is one, and it is not the state of a rewrite.
        """
        state: Any = self._state
        if self._path is not None and self._path.exists():
            try:
                state = msgspec.json.decode(self._path.read_bytes())
            except (OSError, msgspec.DecodeError) as error:
                raise _unreadable(str(self._path)) from error
        if state is None:
            return initial
        try:
            earlier = msgspec.convert(state, Checkpoint)
        except msgspec.ValidationError:
            source = str(self._path or "the mapping that was passed as `resume`")
            raise _unreadable(source) from None
        same = (earlier.target, earlier.report.dry_run, earlier.format) == (
            initial.target,
            initial.report.dry_run,
            initial.format,
        )
        return earlier if same else initial

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the file atomically."""
        if self._path is None:
            return
        temporary = self._path.with_name(self._path.name + ".new")
        temporary.write_bytes(msgspec.json.encode(checkpoint))
        temporary.replace(self._path)

    def remove(self) -> None:
        """Delete the file, after a rewrite that has finished."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _unreadable(source: str) -> ConfigurationError:
    return ConfigurationError(
        f"{source} is not the state of a rewrite: to start over, pass another path as `resume`, or "
        "none"
    )
