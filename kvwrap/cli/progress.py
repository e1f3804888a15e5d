"""Bars of progress on stderr, for people on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from kvwrap.cli.output import is_terminal, shown_name
from kvwrap.core.primitives import Collection
from kvwrap.core.store import Store
from kvwrap.errors import KvwrapError


class _Seen(Protocol):
    @property
    def seen(self) -> int: ...


class _Progress(Protocol):
    @property
    def collection(self) -> Collection: ...

    @property
    def report(self) -> _Seen: ...


class Bar:
    """A bar on stderr, with keys of how many, rate and time left; nothing if stderr is no terminal.

    Args:
        title: What is done, such as "copy".
        quiet: Whether to show nothing.
    """

    def __init__(self, title: str, *, quiet: bool) -> None:
        self._title = title
        self.is_shown = not quiet and is_terminal(sys.stderr)
        self.total: int | None = None
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if self.is_shown:
            # Imported late: it takes longer than most commands.
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(file=sys.stderr),
            )
            self._bar.start()
        return self

    async def measure(
        self, store: Store, prefix: str, collections: Sequence[Collection] | None
    ) -> None:
        """Count the keys that there are, if the bar is shown and the store can count."""
        if not self.is_shown:
            return
        try:
            names = [None, *await store.collections()] if collections is None else collections
            self.total = sum([await store.count(collection=name, prefix=prefix) for name in names])
        except KvwrapError:
            # The bar goes without a total; what the work itself needs, it will tell.
            self.total = None

    def __call__(self, progress: _Progress) -> None:
        if self._bar is None:
            return
        seen = progress.report.seen
        description = f"{self._title} {shown_name(progress.collection)}"[:40]
        if self._task is None:
            # Begun here, so that what an earlier run had seen is no part of the rate.
            self._task = self._bar.add_task(
                description, total=self.total, completed=seen, rate="- keys/s"
            )
            return
        task = self._bar.tasks[0]
        # Layers' own records are not counted, but they are gone through.
        total = None if self.total is None else max(self.total, seen)
        self._bar.update(
            self._task,
            description=description,
            completed=seen,
            total=total,
            rate=f"{task.speed or 0:,.0f} keys/s",
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
