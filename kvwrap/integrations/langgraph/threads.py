"""The records of checkpoints: those of one thread are one collection.

Of each checkpoint there is a record of its content, one of the names of the tasks that wrote to
it, and one of each such task. Of each namespace there is one of the latest checkpoint's id. So
the latest state is read in three batches, however many checkpoints there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote, unquote

from kvwrap.core.optimistic import ATTEMPTS, backoff, conflict
from kvwrap.core.store import Store

Write = list[Any]
"""A write of a task: task, index, path, channel, type and bytes of its value."""

_PAGE = 100


class Threads:
    """Reads and changes the records of all threads in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def names(self) -> list[str]:
        """Return the ids of all threads, in order."""
        return sorted(filter(None, await self._store.collections()))

    async def ids(self, thread: str) -> list[tuple[str, str]]:
        """Return namespace and id of each checkpoint: by namespace, the newest first."""
        names = [
            tuple(map(unquote, key.split("/")[1:]))
            async for key in self._store.scan(collection=thread, prefix="c/")
        ]
        newest_first = sorted(((space, id_) for space, id_ in names), reverse=True)
        return sorted(newest_first, key=lambda name: name[0])

    async def latest(self, thread: str, space: str) -> str | None:
        """Return the id of the latest checkpoint of a namespace."""
        id_: str | None = await self._store.get(f"h/{_quoted(space)}", collection=thread)
        return id_

    async def read(
        self, thread: str, names: Sequence[tuple[str, str]]
    ) -> list[tuple[list[Any], list[Write]] | None]:
        """Return content and writes of checkpoints; `None` of those that are missing."""
        keys = [_key(space, id_) for space, id_ in names]
        stored = await self._store.get_many(
            [f"{kind}/{key}" for kind in "cw" for key in keys], collection=thread
        )
        contents, tasks = stored[: len(keys)], stored[len(keys) :]
        task_keys = [
            f"w/{key}/{_quoted(task)}" for key, each in zip(keys, tasks) for task in each or ()
        ]
        records = await self._store.get_many(task_keys, collection=thread) if task_keys else []
        by_key = dict(zip(task_keys, records))
        found: list[tuple[list[Any], list[Write]] | None] = []
        for key, content, each in zip(keys, contents, tasks):
            if content is None:
                found.append(None)
                continue
            writes = [
                write for task in each or () for write in by_key[f"w/{key}/{_quoted(task)}"] or ()
            ]
            found.append((content, writes))
        return found

    async def put(self, thread: str, space: str, id_: str, content: list[Any]) -> None:
        """Write a checkpoint, which becomes the latest of its namespace unless a later one is."""
        await self._store.put(f"c/{_key(space, id_)}", content, collection=thread)
        await self._update(
            thread, f"h/{_quoted(space)}", lambda latest: id_ if (latest or "") < id_ else latest
        )

    async def put_writes(
        self, thread: str, space: str, id_: str, task: str, writes: Sequence[Write]
    ) -> None:
        """Add what a task wrote. Writes of an index that is there stay, if it is not negative."""

        def merged(stored: list[Write] | None) -> list[Write]:
            by_index = {write[1]: write for write in stored or ()}
            for write in writes:
                if write[1] < 0 or write[1] not in by_index:
                    by_index[write[1]] = write
            return list(by_index.values())

        key = f"w/{_key(space, id_)}"
        await self._update(thread, f"{key}/{_quoted(task)}", merged)
        await self._update(
            thread, key, lambda tasks: tasks if task in (tasks or ()) else [*(tasks or ()), task]
        )

    async def _update(self, thread: str, key: str, change: Callable[[Any], Any]) -> None:
        for attempt in ATTEMPTS:
            await backoff(attempt)
            stored = await self._store.get_versioned(key, collection=thread)
            if stored is None:
                if await self._store.put_if_absent(key, change(None), collection=thread):
                    return
                continue
            changed = change(stored.value)
            if changed == stored.value or await self._store.compare_and_put(
                key, changed, stored.version, collection=thread
            ):
                return
        raise conflict(self._store.name, thread, key)

    async def delete(self, thread: str) -> None:
        """Delete a thread."""
        await self._store.destroy_collection(thread)

    async def delete_checkpoints(self, thread: str, names: Sequence[tuple[str, str]]) -> None:
        """Delete checkpoints of a thread with their writes; the latest of the others is the latest.

        The content goes first, so that nothing refers to writes that are gone.
        """
        doomed = {_key(space, id_) for space, id_ in names}
        for kind in "cw":
            keys = [
                key
                async for key in self._store.scan(collection=thread, prefix=f"{kind}/")
                if "/".join(key.split("/")[1:3]) in doomed
            ]
            await self._store.delete_many(keys, collection=thread)
        left = await self.ids(thread)
        for space in {space for space, _ in names}:
            newest = next((id_ for each, id_ in left if each == space), None)
            if newest is None:
                await self._store.delete(f"h/{_quoted(space)}", collection=thread)
            else:
                await self._store.put(f"h/{_quoted(space)}", newest, collection=thread)

    async def copy(self, source: str, target: str) -> None:
        """Copy all records of a thread; those of the latest checkpoints last."""
        keys = sorted(await self._store.keys(source), key=lambda key: (key[0] == "h", key))
        for start in range(0, len(keys), _PAGE):
            page = keys[start : start + _PAGE]
            values = await self._store.get_many(page, collection=source)
            kept = [(key, value) for key, value in zip(page, values) if value is not None]
            await self._store.put_many(
                [key for key, _ in kept], [value for _, value in kept], collection=target
            )


def _key(space: str, id_: str) -> str:
    return f"{_quoted(space)}/{_quoted(id_)}"


def _quoted(text: str) -> str:
    """Return text without slashes, which separate the parts of keys."""
    return quote(text, safe=":|")
