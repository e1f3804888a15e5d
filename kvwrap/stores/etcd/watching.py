"""The changes that etcd tells, over a stream of its Watch API."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import Context
from typing import Any, Final

from kvwrap.core.changes import ChangeKind
from kvwrap.core.concurrency import cancel_and_wait
from kvwrap.core.deadlines import time_limit
from kvwrap.errors import StoreUnavailable
from kvwrap.stores.etcd.cluster import Cluster
from kvwrap.stores.etcd.connections import Etcd
from kvwrap.stores.etcd.protocol import messages
from kvwrap.stores.etcd.requests import end_of
from kvwrap.stores.shared.escaping import KeyNames
from kvwrap.stores.shared.feed import Line

_ASK_AGAIN: Final = 0.1
"""Seconds after which etcd is asked again how far it is; it ignores that while it catches up."""


class EtcdLink:
    """Watches all keys with a prefix, over a connection of its own.

    Every change has a revision. A new connection goes on after the last one that was heard, so
    that nothing is missed, unless etcd has compacted these revisions meanwhile, or has been emptied
    or restored, after which it has other ones.

    Args:
        feed: What the changes are told to.
        etcd: The servers and the login.
        names: The names of the keys.
    """

    resumes = True

    def __init__(self, feed: Line, etcd: Etcd, names: KeyNames) -> None:
        self._feed = feed
        self.server = etcd.server
        self._etcd = etcd
        self._names = names
        self._root = names.root.encode()
        self._heard = 0  # the last revision whose changes were told
        self._data: int | None = None  # the id of the cluster that the revision is of
        self._cluster: Cluster | None = None
        self._stream: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._progressed = asyncio.Event()

    async def connect(self) -> bool:
        """Connect, and go on after the last revision that was heard, if there is one."""
        cluster = self._cluster = await self._etcd.connect()
        try:
            revision = await self._revision(cluster)
            is_resumed = 0 < self._heard <= revision
            if not is_resumed:
                self._heard = 0
            self._heard = self._heard or revision
            self._stream = stream = await cluster.open_watch()
            watched = {"key": self._root, "range_end": end_of(self._root)}
            create = {**watched, "start_revision": self._heard + 1}
            await stream.send_message(messages().WatchRequest(create_request=create))
            answer = await stream.recv_message()
        except Exception as error:
            raise self._etcd.translate(error) or error from error
        if answer is None or answer.canceled:
            raise StoreUnavailable(
                f"{self._etcd.server} refuses to tell changes of keys with the store's prefix: "
                "check that the user may read all of them"
            )
        self._reader = asyncio.create_task(self._read(stream), context=Context())
        return is_resumed

    async def _revision(self, cluster: Cluster) -> int:
        """Return the revision of the last change that a read sees now."""
        answer = await cluster.read("Range", {"key": self._root, "keys_only": True})
        revision: int = answer.header.revision
        if answer.header.cluster_id != self._data:
            self._data, self._heard = answer.header.cluster_id, 0
        return revision

    async def _read(self, stream: Any) -> None:
        try:
            # The driver ends a call by an error, or by cancelling the task.
            with suppress(Exception):
                while (answer := await stream.recv_message()) is not None:
                    self._hear(answer)
                    if answer.canceled:
                        break
        finally:
            self._feed.cut()
            self._progressed.set()

    def _hear(self, answer: Any) -> None:
        for event in answer.events:
            names = self._parse(event.kv.key)
            if names is not None:
                self._feed.tell(ChangeKind.REMOVED if event.type else ChangeKind.PUT, *names)
            self._heard = event.kv.mod_revision
        if answer.canceled:
            # Compacted, or refused from now on: nothing tells what happened in between.
            self._heard = 0
            self._feed.lose()
        elif not answer.events:
            self._heard = max(self._heard, answer.header.revision)
        self._progressed.set()

    def _parse(self, name: bytes) -> tuple[str | None, str] | None:
        """Return the collection and key of a name; None for one of another program."""
        try:
            rest = name[len(self._root) :].decode()
        except UnicodeDecodeError:
            return None
        collection, key = self._names.collection_of(rest), rest.partition(":")[2]
        if not key or (self._names.prefix(collection) + key).encode() != name:
            return None
        return collection, key

    async def ping(self) -> None:
        """Wait until every change up to the present revision of etcd has been told."""
        cluster, stream, reader = self._cluster, self._stream, self._reader
        assert cluster is not None
        assert reader is not None
        revision = await self._revision(cluster)
        if self._heard > revision or not self._heard:
            raise StoreUnavailable(f"{self._etcd.server} has been emptied or restored")
        while self._heard < revision:
            if reader.done():
                raise StoreUnavailable(f"{self._etcd.server} does not tell changes any more")
            self._progressed.clear()
            await stream.send_message(messages().WatchRequest(progress_request={}))
            with suppress(TimeoutError), time_limit(_ASK_AGAIN):
                await self._progressed.wait()

    async def close(self) -> None:
        """Close the connection."""
        reader, self._reader = self._reader, None
        cluster, self._cluster = self._cluster, None
        if reader is not None:
            await cancel_and_wait((reader,))
        if cluster is not None:
            await self._etcd.disconnect(cluster)
