"""The position of a rewrite or a copy, as JSON, to resume from."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from kvwrap.core.primitives import Collection
from kvwrap.core.text import printable
from kvwrap.core.validation import path_text
from kvwrap.errors import ConfigurationError

R = TypeVar("R", bound=msgspec.Struct)

FORMAT = 2
"""The version of the format of a state."""

_NONE = object()

_INTERVAL = 0.5
"""Seconds of work that may have to be done again after a process was killed."""

Resume = str | os.PathLike[str] | Mapping[str, Any]
"""The path of a checkpoint file, or a state from `Progress.state`."""


class Checkpoint(msgspec.Struct, Generic[R]):
    """The position of a rewrite or a copy.

    Attributes:
        store: Where the entries are.
        target: What is done with them in which form; another target starts over.
        report: The report so far.
        done: The finished collections, each with the name of its scope.
        scope: The name of the current scope.
        collection: The current collection of that scope.
        last_key: The last finished key of that collection.
        format: The version of this format.
    """

    store: str
    target: list[str]
    report: R
    done: list[tuple[str, Collection]] = msgspec.field(default_factory=list)
    # The JSON has these two under the names "place" and "after".
    scope: str | None = msgspec.field(default=None, name="place")
    collection: Collection = None
    last_key: str | None = msgspec.field(default=None, name="after")
    format: int = FORMAT

    def encode(self) -> bytes:
        """Return this checkpoint as JSON."""
        return msgspec.json.encode(self)

    def begin(self, scope: str, collection: Collection) -> None:
        """Set the current collection. The last key stays if it is the same collection."""
        if (scope, collection) != (self.scope, self.collection):
            self.scope, self.collection, self.last_key = scope, collection, None

    def finish(self, scope: str, collection: Collection) -> None:
        """Record the collection as finished."""
        self.done.append((scope, collection))
        self.scope = self.collection = self.last_key = None


class CheckpointFile(Generic[R]):
    """Loads the checkpoint of an earlier run, and saves new ones if it has a path.

    Args:
        resume: The path of the file, a state that was stored elsewhere, or `None`.
        report: The class of the reports.
        work: What is done: "rewrite", "copy", "export" or "import".

    Raises:
        ConfigurationError: It is not such a thing.
    """

    def __init__(self, resume: Resume | None, report: type[R], work: str) -> None:
        self._kind = Checkpoint[report]  # type: ignore[valid-type]  # a class at run time
        self._what = f"{'an' if work[0] in 'aeiou' else 'a'} {work}"
        self._state = resume if isinstance(resume, Mapping) else None
        self._path = None if resume is None or isinstance(resume, Mapping) else _path_of(resume)
        # The command line shows it too, which has no `resume`.
        self._advice = "delete the file, or name another one for the state"
        if self._state is not None:
            self._advice = "pass another state, or None"
        self._saved_at = -_INTERVAL

    def load(self, initial: Checkpoint[R]) -> Checkpoint[R]:
        """Return the earlier checkpoint if it is of the same work, else the initial one.

        Raises:
            ConfigurationError: There is one, and it is not the state of such work on this store,
                or the file cannot be read or written.
        """
        state: Any = _NONE if self._state is None else self._state
        source = "the mapping that was passed as `resume`"
        if self._path is not None:
            source = repr(str(self._path))
            try:
                state = msgspec.json.decode(self._path.read_bytes())
            except FileNotFoundError:
                pass
            except OSError as error:
                raise self._failure("read", error) from error
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise self._no_state(source) from None
        earlier = initial if state is _NONE else self._parse(state, source)
        if earlier.store != initial.store:
            raise ConfigurationError(
                f"the state must be that of {self._what} of {initial.store}; {source} is that of "
                f"{printable(earlier.store)}: {self._advice}"
            )
        checkpoint = earlier if earlier.target == initial.target else initial
        self.save(checkpoint.encode())
        return checkpoint

    def save(self, encoded: bytes) -> None:
        """Replace the file atomically: at every moment it is the old state or the new one.

        Raises:
            ConfigurationError: The file cannot be written.
        """
        if self._path is None:
            return
        temporary = self._path.with_name(self._path.name + ".new")
        try:
            temporary.unlink(missing_ok=True)
            # For the user alone, since it has names of keys.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
                file.write(encoded)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            raise self._failure("written", error) from error
        self._saved_at = time.monotonic()

    def save_sometimes(self, encoded: bytes) -> None:
        """Save, unless that was done less than half a second ago."""
        if time.monotonic() - self._saved_at >= _INTERVAL:
            self.save(encoded)

    def remove(self) -> None:
        """Delete the file, after a rewrite that has finished."""
        if self._path is not None:
            try:
                self._path.unlink(missing_ok=True)
            except OSError as error:
                raise self._failure("deleted", error) from error

    def _parse(self, state: Any, source: str) -> Checkpoint[R]:
        try:
            checkpoint: Checkpoint[R] = msgspec.convert(state, self._kind)
        except msgspec.ValidationError:
            raise self._no_state(source) from None
        if checkpoint.format != FORMAT:
            raise self._no_state(source)
        return checkpoint

    def _no_state(self, source: str) -> ConfigurationError:
        return ConfigurationError(
            f"{source} is not the state of {self._what}, or it is damaged: to start over, "
            f"{self._advice}"
        )

    def _failure(self, action: str, error: OSError) -> ConfigurationError:
        return ConfigurationError(
            f"the state file {str(self._path)!r} cannot be {action} "
            f"({error.strerror or type(error).__name__}): name another file for the state"
        )


def _path_of(resume: object) -> Path:
    text = path_text(resume)
    if text is None:
        raise ConfigurationError(
            "`resume` must be the path of a file, or the `state` of a Progress; got "
            f"{type(resume).__name__}"
        )
    return Path(text)
