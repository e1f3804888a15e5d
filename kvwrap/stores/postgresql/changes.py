"""Statements that change keys: one for a batch, or one for each part of a large batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from kvwrap.core.primitives import Collection
from kvwrap.errors import KvwrapError
from kvwrap.stores.postgresql.batches import Step, payload, take
from kvwrap.stores.postgresql.server import Server
from kvwrap.stores.shared.chunks import parts

_SWEEP_EVERY: Final = 500
"""Number of entries that a store writes between two deletions of expired ones."""


class Changes:
    """Runs the statements that change keys.

    Args:
        server: Runs them.
        notify: Whether each takes one more argument, which the server sends to those who listen.
    """

    def __init__(self, server: Server, *, notify: bool) -> None:
        self._server = server
        self._notify = notify
        self._written = 0

    async def run(
        self, statement: str, collection: Collection, keys: Sequence[str], arguments: list[Any]
    ) -> list[Any]:
        """Run one statement, which changes these keys. Returns its rows."""
        if self._notify:
            arguments.append(payload(collection, keys))
        try:
            return await self._server.run(statement, *arguments, writes=True)
        except KvwrapError as error:
            error.collection, error.key = collection, keys[0] if len(keys) == 1 else None
            raise

    async def run_steps(
        self,
        name: str,
        collection: Collection,
        keys: Sequence[str],
        steps: Sequence[Step],
        arguments_of: Callable[[Step], list[Any]],
        sizes: Sequence[int] | None = None,
    ) -> list[tuple[Step, list[Any]]]:
        """Run the statements of a batch, in parts. Returns each part and its rows.

        An error names the keys of the parts that succeeded before.
        """
        answers: list[tuple[Step, list[Any]]] = []
        done: list[str] = []
        for condition, indexes in steps:
            weights = None if sizes is None else take(sizes, indexes)
            for part in parts(len(indexes), weights):
                step = condition, indexes[part]
                changed = take(keys, step[1])
                arguments = arguments_of(step)
                statement = f"{name}{condition}"
                if len(changed) == 1:
                    arguments = [each[0] if type(each) is list else each for each in arguments]
                else:
                    statement += "_many"
                try:
                    found = await self.run(statement, collection, changed, arguments)
                except KvwrapError as error:
                    error.key = keys[0] if len(keys) == 1 else None
                    error.succeeded = tuple(done) if done else None
                    raise
                done += changed
                answers.append((step, found))
        return answers

    async def sweep_some(self, count: int, now: Callable[[], int]) -> None:
        """Delete expired entries once for many that are written, so that they do not pile up.

        Args:
            count: Number of entries about to be written.
            now: Returns the time in Unix milliseconds.
        """
        self._written += count
        if self._written >= _SWEEP_EVERY:
            self._written = 0
            await self._server.run("sweep", now(), writes=True)
