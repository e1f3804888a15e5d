"""Batches as transactions of etcd, within its limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from kvwrap.core.concurrency import gather
from kvwrap.core.primitives import Collection
from kvwrap.errors import KvwrapError, ValueTooLarge
from kvwrap.stores.etcd.cluster import Cluster
from kvwrap.stores.etcd.connections import is_without_lease
from kvwrap.stores.etcd.protocol import driver
from kvwrap.stores.etcd.requests import Fields, conditional, unless_permanent
from kvwrap.stores.shared.chunks import parts
from kvwrap.stores.shared.client import Client

T = TypeVar("T")
Make = Callable[[Cluster, Sequence[int]], Awaitable[list[Fields]]]
"""Makes the operations for the keys of a batch that have these indices."""

_MOST_OPERATIONS: Final = 128
"""Operations of a transaction, unless --max-txn-ops of the server says otherwise."""
_MOST_CONDITIONS: Final = _MOST_OPERATIONS - 1
"""Operations with conditions of their own: each is a transaction within the transaction."""
_MOST_BYTES: Final = 1536 * 1024 - 16 * 1024
"""Bytes of a transaction, unless --max-request-bytes says otherwise, without what is around."""
_SPAN: Final = 100
"""Names between which a lease is looked for at once: if there is one, all values are read."""
_AROUND: Final = 64
"""Bytes around key and value of an operation and its condition, at most."""


class Batch(NamedTuple):
    """Operations for keys, each of which is done by itself.

    Attributes:
        names: Names of the keys in etcd.
        values: What is written; None where nothing is.
        keys: The keys, for errors; None where the user named none.
        collection: Their collection, for errors.
    """

    names: Sequence[bytes]
    values: Sequence[bytes] | None = None
    keys: Sequence[str] | None = None
    collection: Collection = None

    def take(self, indices: Sequence[int]) -> Batch:
        """Return the batch of some of the keys."""
        return Batch(
            [self.names[index] for index in indices],
            None if self.values is None else [self.values[index] for index in indices],
            None if self.keys is None else [self.keys[index] for index in indices],
            self.collection,
        )

    def sizes(self) -> list[int]:
        """Return the bytes that are sent for each key, at most."""
        # The name is sent with the condition, the operation, and what reads in its place.
        sizes = [_AROUND + 3 * len(name) for name in self.names]
        if self.values is None:
            return sizes
        return [size + len(value) for size, value in zip(sizes, self.values, strict=True)]


class Transactions:
    """Sends batches to etcd, in as few transactions as its limits allow.

    A transaction that is over a limit of the server all the same is divided.
    """

    def __init__(self, client: Client[Cluster]) -> None:
        self._client = client

    async def read(self, batch: Batch) -> Sequence[Any]:
        """Return what etcd has under each name, None for nothing."""

        async def get(part: slice, cluster: Cluster) -> list[Any]:
            return await _get(cluster, batch.names[part])

        return await self._in_parts(batch, get, _MOST_OPERATIONS)

    async def with_lease(self, names: Sequence[bytes]) -> list[Any]:
        """Return what etcd has under those of these sorted names that have a lease.

        Where no name has one, no value is transferred. etcd lists names without their leases.
        """
        spans = [names[start : start + _SPAN] for start in range(0, len(names), _SPAN)]

        async def look(cluster: Cluster) -> list[Any]:
            answers = await gather(
                [cluster.read("Txn", unless_permanent(span[0], span[-1] + b"\0")) for span in spans]
            )
            return [
                kv
                for answer in answers
                for response in answer.responses
                for kv in response.response_range.kvs
                if kv.lease
            ]

        return await self._client.run(look) if names else []

    async def send(self, batch: Batch, make: Make) -> Sequence[Any]:
        """Write without conditions. Returns the responses."""

        async def write(part: slice, cluster: Cluster) -> Sequence[Any]:
            indices = range(part.start, part.stop)

            async def once() -> Sequence[Any]:
                return await cluster.commit(await make(cluster, indices))

            return await _with_leases(cluster, once)

        return await self._in_parts(batch, write, _MOST_OPERATIONS)

    async def change(
        self,
        batch: Batch,
        looks: Sequence[bool],
        judge: Callable[[int, Any], bool | None],
        make: Make,
    ) -> list[bool]:
        """Write under conditions. Returns, per key, True if it was written.

        Each operation happens only if its key is as it was when it was judged; otherwise it is
        judged again. Where a name occurs twice, one is done after the other.

        Args:
            batch: The batch.
            looks: Per key, False if it is first taken to be missing, which saves a round trip.
            judge: Gets the index of a key and what etcd has under it, None for nothing. Returns
                the result, or None to write.
            make: Makes the operations.
        """
        results: dict[int, bool] = {}
        try:
            for wave in _waves(batch.names):
                own = batch.take(wave)
                settle = partial(self._settle, wave, own, looks, judge, make, results)
                await self._in_parts(own, settle, _MOST_CONDITIONS)
        except KvwrapError as error:
            if batch.keys is not None and len(batch.keys) > 1:
                error.succeeded = tuple(batch.keys[index] for index in sorted(results))
            raise
        return [results[index] for index in range(len(batch.names))]

    async def _settle(
        self,
        wave: Sequence[int],
        batch: Batch,
        looks: Sequence[bool],
        judge: Callable[[int, Any], bool | None],
        make: Make,
        results: dict[int, bool],
        part: slice,
        cluster: Cluster,
    ) -> list[None]:
        indices, names = wave[part], dict(zip(wave[part], batch.names[part], strict=True))
        looked_at = [index for index in indices if looks[index]]
        found = await _get(cluster, [names[index] for index in looked_at])
        held = {**dict.fromkeys(indices), **dict(zip(looked_at, found, strict=True))}
        pending = list(indices)

        async def once() -> Sequence[Any]:
            operations = [
                conditional(
                    names[index],
                    0 if held[index] is None else held[index].mod_revision,
                    operation,
                )
                for index, operation in zip(pending, await make(cluster, pending), strict=True)
            ]
            return await cluster.commit(operations)

        while True:
            for index in pending:
                verdict = judge(index, held[index])
                if verdict is not None:
                    results[index] = verdict
            pending = [index for index in pending if index not in results]
            if not pending:
                return [None] * len(indices)
            responses = await _with_leases(cluster, once)
            for index, response in zip(pending, responses, strict=True):
                own = response.response_txn
                if own.succeeded:
                    results[index] = True
                else:
                    held[index] = next(iter(own.responses[0].response_range.kvs), None)
            pending = [index for index in pending if index not in results]

    async def _in_parts(
        self, batch: Batch, call: Callable[[slice, Cluster], Awaitable[Sequence[T]]], most: int
    ) -> Sequence[T]:
        keys = batch.keys
        if len(batch.names) == 1:  # the same as below, in less time
            whole = partial(call, slice(0, 1))
            if keys is None:
                return await self._client.run(whole)
            return await self._client.run(whole, collection=batch.collection, key=keys[0])
        sizes = batch.sizes()
        pending = [*parts(len(sizes), sizes, most=most, most_bytes=_MOST_BYTES)][::-1]
        done: list[T] = []
        while pending:
            part = pending.pop()
            context: dict[str, Any] = {"collection": batch.collection}
            if keys is not None and part.stop - part.start == 1:
                context["key"] = keys[part.start]
            try:
                done += await self._client.run(partial(call, part), **context)
            except ValueTooLarge as error:
                if part.stop - part.start > 1:
                    middle = (part.start + part.stop) // 2
                    pending += [slice(middle, part.stop), slice(part.start, middle)]
                    continue
                _name_succeeded(error, batch, part)
                raise
            except KvwrapError as error:
                _name_succeeded(error, batch, part)
                raise
        return done


def _name_succeeded(error: KvwrapError, batch: Batch, failed: slice) -> None:
    if batch.keys is not None and len(batch.keys) > 1:
        error.succeeded = tuple(batch.keys[: failed.start])


async def _get(cluster: Cluster, names: Sequence[bytes]) -> list[Any]:
    if not names:
        return []
    if len(names) == 1:
        answers = [await cluster.read("Range", {"key": names[0]})]
    else:
        operations = [{"request_range": {"key": name}} for name in names]
        answer = await cluster.read("Txn", {"success": operations})
        answers = [each.response_range for each in answer.responses]
    return [kvs[0] if (kvs := answer.kvs) else None for answer in answers]


async def _with_leases(cluster: Cluster, send: Callable[[], Awaitable[T]]) -> T:
    """Send a request again, with other leases, if one of them has ended."""
    while True:
        try:
            return await send()
        except driver().GRPCError as error:
            if not is_without_lease(error):
                raise
            cluster.leases.forget()


def _waves(names: Sequence[bytes]) -> Iterator[list[int]]:
    """Yield the indices of the first of each name, then those of the second, and so on."""
    indices = list(range(len(names)))
    while indices:
        first: dict[bytes, int] = {}
        for index in indices:
            first.setdefault(names[index], index)
        yield list(first.values())
        own = set(first.values())
        indices = [index for index in indices if index not in own]
