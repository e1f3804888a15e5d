"""A checkpointer of LangGraph."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kvwrap.core.optional import need
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError
from kvwrap.integrations.langgraph.runner import Opened, Runner, storage
from kvwrap.integrations.langgraph.threads import Threads, Write
from kvwrap.keyring.source import KeySource

need("langgraph.checkpoint.base", extra="langgraph", wanted_by=__name__)

from langgraph.checkpoint.base import (  # noqa: E402  # after the error that names the extra
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    CheckpointTuple,
    get_checkpoint_id,
    get_checkpoint_metadata,
    writes_sort_key,
)

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
    from langgraph.checkpoint.serde.base import SerializerProtocol

_PAGE = 20
"""Checkpoints that a listing reads at once."""

_Names = list[tuple[str, tuple[str, str]]]
"""Threads, and of each checkpoint namespace and id."""


class KvwrapSaver(Opened, BaseCheckpointSaver[int]):
    """Keeps the checkpoints of graphs in a store, encrypted and compressed.

    Blocking and async methods may be used together, by any number of threads, event loops and
    processes. Values are serialized by LangGraph; a pickle is neither written nor loaded, unless
    `serde` is made to. It opens itself at the first call; `with`, `async with` or `close` end it.

    Args:
        backend: URL of a store that can enumerate keys and compare versions, or the store.
        keyring: The encryption keys. Checkpoints are bound to name, thread, namespace and id.
        name: Name of the graphs whose checkpoints these are, where several share a backend;
            without `/`. Ids of threads are readable in the backend.
        serde: LangGraph's serializer of values, if not its default.
        compress: Whether values are compressed.

    Methods raise the errors of the store: `StoreUnavailable` after three attempts, so that the
    graph stops, and goes on from its last checkpoint when it is invoked again; `DecryptionError`
    and `CorruptEntry` for a checkpoint that was altered. One that is written in full is found; one
    whose write failed or was cancelled may be there, and is then the latest.
    """

    def __init__(
        self,
        backend: str | Store,
        keyring: KeySource,
        *,
        name: str = "langgraph",
        serde: SerializerProtocol | None = None,
        compress: bool = True,
    ) -> None:
        super().__init__(serde=serde)
        store = storage(backend, keyring, purpose="threads", name=name, compress=compress)
        self._runner = Runner(store)
        self._threads = Threads(store)

    # -- reading -----------------------------------------------------------------------

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint of this id, or the latest of the thread's namespace."""
        return self._runner.run(self._get_tuple(config))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint of this id, or the latest of the thread's namespace."""
        return await self._runner.arun(self._get_tuple(config))

    async def _get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        thread, space = _place(config)
        id_ = get_checkpoint_id(config) or await self._threads.latest(thread, space)
        return (await self._read(thread, [(space, id_)]))[0] if id_ else None

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002  # its name there
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """List checkpoints, of each thread and namespace the newest first.

        Args:
            config: The thread, and if given the namespace and the id; `None` for all threads,
                which the store must be able to enumerate.
            filter: Values that metadata must have.
            before: Only checkpoints with ids below the one there.
            limit: The most checkpoints.
        """
        names = self._runner.run(self._names(config, before))
        for start in range(0, len(names), _PAGE):
            if limit is not None and limit <= 0:
                return
            for found in self._runner.run(self._page(names[start : start + _PAGE], filter))[:limit]:
                limit = None if limit is None else limit - 1
                yield found

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002  # its name there
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """List checkpoints as `list` does."""
        names = await self._runner.arun(self._names(config, before))
        for start in range(0, len(names), _PAGE):
            if limit is not None and limit <= 0:
                return
            page = await self._runner.arun(self._page(names[start : start + _PAGE], filter))
            for found in page[:limit]:
                limit = None if limit is None else limit - 1
                yield found

    async def _names(self, config: RunnableConfig | None, before: RunnableConfig | None) -> _Names:
        below = get_checkpoint_id(before) if before else None
        wanted: dict[str, Any] = dict(config["configurable"]) if config else {}
        space, id_ = wanted.get("checkpoint_ns"), wanted.get("checkpoint_id")
        threads = [str(wanted["thread_id"])] if config else await self._threads.names()
        return [
            (thread, name)
            for thread in threads
            for name in await self._threads.ids(thread)
            if space in (None, name[0])
            and (not id_ or name[1] == id_)
            and (not below or name[1] < below)
        ]

    async def _page(self, names: _Names, wanted: dict[str, Any] | None) -> Sequence[Any]:
        found: Sequence[CheckpointTuple] = [
            each
            for thread in dict.fromkeys(thread for thread, _ in names)
            for each in await self._read(thread, [name for of, name in names if of == thread])
            if each is not None
        ]
        items = (wanted or {}).items()
        return [
            each
            for each in found
            if all(dict(each.metadata).get(key) == value for key, value in items)
        ]

    async def _read(
        self, thread: str, names: Sequence[tuple[str, str]]
    ) -> Sequence[CheckpointTuple | None]:
        stored = await self._threads.read(thread, names)
        return [
            None if each is None else self._loaded(thread, space, id_, *each)
            for (space, id_), each in zip(names, stored)
        ]

    def _loaded(
        self, thread: str, space: str, id_: str, content: Sequence[Any], writes: Sequence[Write]
    ) -> CheckpointTuple:
        kind, data, metadata_kind, metadata, parent = content
        return CheckpointTuple(
            config=_config(thread, space, id_),
            checkpoint=self.serde.loads_typed((kind, data)),
            metadata=self.serde.loads_typed((metadata_kind, metadata)),
            parent_config=_config(thread, space, parent) if parent else None,
            pending_writes=[
                (task, channel, self.serde.loads_typed((kind, data)))
                for task, _, _, channel, kind, data in sorted(
                    writes, key=lambda write: writes_sort_key(write[2], write[0], write[1])
                )
            ],
        )

    # -- writing -----------------------------------------------------------------------

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Write a checkpoint. Returns its config."""
        return self._runner.run(self._put(config, checkpoint, metadata))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Write a checkpoint. Returns its config."""
        return await self._runner.arun(self._put(config, checkpoint, metadata))

    async def _put(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata
    ) -> RunnableConfig:
        thread, space = _place(config)
        content = [
            *self.serde.dumps_typed(checkpoint),
            *self.serde.dumps_typed(get_checkpoint_metadata(config, metadata)),
            get_checkpoint_id(config),
        ]
        await self._threads.put(thread, space, checkpoint["id"], content)
        return _config(thread, space, checkpoint["id"])

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Add what a task wrote to a checkpoint. Writing the same again changes nothing."""
        self._runner.run(self._put_writes(config, writes, task_id, task_path))

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Add what a task wrote to a checkpoint. Writing the same again changes nothing."""
        await self._runner.arun(self._put_writes(config, writes, task_id, task_path))

    async def _put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task: str, path: str
    ) -> None:
        thread, space = _place(config)
        records = [
            [
                task,
                WRITES_IDX_MAP.get(channel, index),
                path,
                channel,
                *self.serde.dumps_typed(value),
            ]
            for index, (channel, value) in enumerate(writes)
        ]
        await self._threads.put_writes(
            thread, space, config["configurable"]["checkpoint_id"], task, records
        )

    # -- deleting and copying ----------------------------------------------------------

    def delete_thread(self, thread_id: str) -> None:
        """Delete all of a thread. A graph that runs on it meanwhile may leave a part."""
        self._runner.run(self._threads.delete(str(thread_id)))

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete all of a thread. A graph that runs on it meanwhile may leave a part."""
        await self._runner.arun(self._threads.delete(str(thread_id)))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints of these runs. All checkpoints of all threads are read."""
        self._runner.run(self._delete_for_runs(run_ids))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints of these runs. All checkpoints of all threads are read."""
        await self._runner.arun(self._delete_for_runs(run_ids))

    async def _delete_for_runs(self, run_ids: Sequence[str]) -> None:
        runs = set(run_ids)
        for thread in await self._threads.names() if runs else ():
            names = await self._threads.ids(thread)
            doomed = []
            for start in range(0, len(names), _PAGE):
                page = names[start : start + _PAGE]
                for name, found in zip(page, await self._read(thread, page)):
                    if found is not None and found.metadata.get("run_id") in runs:
                        doomed.append(name)
            if doomed:
                await self._threads.delete_checkpoints(thread, doomed)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all checkpoints and writes of a thread to another one."""
        self._runner.run(self._threads.copy(str(source_thread_id), str(target_thread_id)))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all checkpoints and writes of a thread to another one."""
        await self._runner.arun(self._threads.copy(str(source_thread_id), str(target_thread_id)))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete all checkpoints of threads but the latest of each namespace, or all.

        What a `DeltaChannel` of the latest needs is kept: its ancestors up to a snapshot.

        Args:
            thread_ids: The threads.
            strategy: `keep_latest` or `delete`.

        Raises:
            ConfigurationError: There is no such strategy.
        """
        self._runner.run(self._prune(thread_ids, strategy))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete all checkpoints of threads but the latest of each namespace, as `prune` does."""
        await self._runner.arun(self._prune(thread_ids, strategy))

    async def _prune(self, thread_ids: Sequence[str], strategy: str) -> None:
        if strategy not in ("keep_latest", "delete"):
            raise ConfigurationError(
                f"`strategy` must be 'keep_latest' or 'delete'; got {strategy!r}"
            )
        for thread in map(str, thread_ids):
            if strategy == "delete":
                await self._threads.delete(thread)
                continue
            names = await self._threads.ids(thread)
            kept: set[tuple[str, str]] = set()
            for space in {space for space, _ in names}:
                kept |= await self._needed_by_latest(thread, space)
            await self._threads.delete_checkpoints(
                thread, [name for name in names if name not in kept]
            )

    async def _needed_by_latest(self, thread: str, space: str) -> set[tuple[str, str]]:
        id_ = await self._threads.latest(thread, space)
        kept: set[tuple[str, str]] = set()
        missing: set[str] | None = None
        while id_:
            (found,) = await self._read(thread, [(space, id_)])
            if found is None:
                break
            kept.add((space, id_))
            if missing is None:
                missing = set(found.metadata.get("counters_since_delta_snapshot") or ())
            missing -= found.checkpoint["channel_values"].keys()
            parent = found.parent_config
            id_ = get_checkpoint_id(parent) if missing and parent else None
        return kept


def _place(config: RunnableConfig) -> tuple[str, str]:
    wanted = config["configurable"]
    return str(wanted["thread_id"]), wanted.get("checkpoint_ns") or ""


def _config(thread: str, space: str, id_: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": space, "checkpoint_id": id_}}
