"""How far a rewrite has come, as JSON."""

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
"""A file that the state is kept in, or a state as `Progress.state` gave it."""


class Checkpoint(msgspec.Struct):
    """How far a rewrite has come.

    Attributes:
        target: What it brings entries to: a rewrite towards something else starts over.
        done: Collections gone through, each behind the name of its place.
        place: Where it is.
        collection: The collection there that it is in.
        after: The last key of it gone through, where keys have an order.
        report: The report so far.
        format: The version of this form.
    """

    target: list[str]
    done: list[tuple[str, Collection]] = msgspec.field(default_factory=list)
    place: str | None = None
    collection: Collection = None
    after: str | None = None
    report: Report = msgspec.field(default_factory=Report)
    format: int = 1

    def begin(self, place: str, collection: Collection) -> None:
        """Note the collection that is gone through now, and where in it to go on."""
        if (place, collection) != (self.place, self.collection):
            self.place, self.collection, self.after = place, collection, None

    def finish(self, place: str, collection: Collection) -> None:
        """Note that the collection has been gone through."""
        self.done.append((place, collection))
        self.place = self.collection = self.after = None

    def to_json(self) -> dict[str, Any]:
        """The state as what JSON holds."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


class CheckpointFile:
    """Reads a state where it was left, and keeps it in its file, if it has one."""

    def __init__(self, resume: Resume | None) -> None:
        self._given = resume if isinstance(resume, Mapping) else None
        path = None if resume is None or isinstance(resume, Mapping) else Path(resume)
        self._path = path

    def start(self, fresh: Checkpoint) -> Checkpoint:
        """The state that was left if it is one of the same rewrite, else the fresh one."""
        found: Any = self._given
        if self._path is not None and self._path.exists():
            try:
                found = msgspec.json.decode(self._path.read_bytes())
            except (OSError, msgspec.DecodeError) as error:
                raise _unreadable(str(self._path)) from error
        if found is None:
            return fresh
        try:
            left = msgspec.convert(found, Checkpoint)
        except msgspec.ValidationError:
            raise _unreadable(str(self._path or "resume")) from None
        same = (left.target, left.report.dry_run) == (fresh.target, fresh.report.dry_run)
        return left if same and left.format == fresh.format else fresh

    def keep(self, state: Checkpoint) -> None:
        """Write the file anew, whole or not at all."""
        if self._path is None:
            return
        beside = self._path.with_name(self._path.name + ".new")
        beside.write_bytes(msgspec.json.encode(state))
        beside.replace(self._path)

    def discard(self) -> None:
        """Remove the file, after a rewrite that came to its end."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _unreadable(what: str) -> ConfigurationError:
    return ConfigurationError(f"{what} is not the state of a rewrite: remove it to start over")
