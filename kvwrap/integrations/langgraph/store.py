"""A store of LangGraph for what agents remember across threads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from kvwrap.core.optional import need
from kvwrap.core.store import Store
from kvwrap.errors import UnsupportedOperation
from kvwrap.integrations.langgraph.filters import fits
from kvwrap.integrations.langgraph.runner import Opened, Runner, storage
from kvwrap.keyring.source import KeySource

need("langgraph.store.base", extra="langgraph", wanted_by=__name__)

from langgraph.store.base import (  # noqa: E402  # after the error that names the extra
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchItem,
    SearchOp,
    validate_op_namespace,
)

if TYPE_CHECKING:
    from langgraph.store.base import Op, Result, TTLConfig

_PAGE = 100
"""Items that a search reads at once."""

_Namespace = tuple[str, ...]


class KvwrapStore(Opened, BaseStore):
    """Keeps what agents remember in a store, encrypted and compressed.

    Blocking and async methods may be used together, by any number of threads, event loops and
    processes. Namespaces are collections. An item expires by itself, after its ttl in minutes.

    A search reads the items under its prefix, in the order of namespaces and keys, until it has as
    many as were asked for. There is no index: one by `filter` may read all of them. There is no
    vector search: `query` raises `UnsupportedOperation`, and `index` has no effect.

    Args:
        backend: URL of a store that can enumerate collections and keys, or the store.
        keyring: The encryption keys. Items are bound to name, namespace and key.
        name: Name of the agents whose memory this is, where several share a backend; without
            `/`. Namespaces and keys are readable in the backend.
        ttl: LangGraph's configuration of expiry, in minutes. Without one, items stay, unless
            they are put with a ttl.
        compress: Whether values are compressed.

    Methods raise the errors of the store. Values are what JSON has, and bytes; other ones raise
    `SerializationError`. A batch reads as of its beginning, then writes, and is not atomic.
    """

    supports_ttl = True

    def __init__(
        self,
        backend: str | Store,
        keyring: KeySource,
        *,
        name: str = "langgraph",
        ttl: TTLConfig | None = None,
        compress: bool = True,
    ) -> None:
        self.ttl_config = ttl
        self._store = storage(backend, keyring, purpose="memories", name=name, compress=compress)
        self._runner = Runner(self._store)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry out operations. Returns their results in order."""
        return self._runner.run(self._batch(list(ops)))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry out operations. Returns their results in order."""
        return await self._runner.arun(self._batch(list(ops)))

    async def _batch(self, ops: Sequence[Op]) -> list[Result]:
        for op in ops:
            validate_op_namespace(op)
        results: list[Result] = []
        puts: dict[tuple[str, str], PutOp] = {}
        for op in ops:
            if isinstance(op, GetOp):
                results.append(await self._get(op))
            elif isinstance(op, SearchOp):
                results.append(await self._search(op))
            elif isinstance(op, ListNamespacesOp):
                results.append(await self._list_namespaces(op))
            elif isinstance(op, PutOp):
                puts[_collection(op.namespace), op.key] = op
                results.append(None)
            else:
                raise TypeError(f"expected an operation of LangGraph, got {type(op).__name__}")
        for collection in dict.fromkeys(collection for collection, _ in puts):
            changes = [op for (place, _), op in puts.items() if place == collection]
            await self._change(collection, changes)
        return results

    async def _get(self, op: GetOp) -> Item | None:
        collection = _collection(op.namespace)
        record = await self._store.get(op.key, collection=collection)
        if record is None:
            return None
        await self._renew(collection, {op.key: record}, op.refresh_ttl)
        return Item(
            value=record[0],
            key=op.key,
            namespace=op.namespace,
            created_at=record[1],
            updated_at=record[2],
        )

    async def _search(self, op: SearchOp) -> list[SearchItem]:
        if op.query is not None:
            raise UnsupportedOperation(
                "a search must be by namespace and `filter`; got `query`, and KvwrapStore has no "
                "vector search",
                store=self._store.name,
            )
        found: list[SearchItem] = []
        most = op.offset + op.limit
        for namespace in await self._namespaces(op.namespace_prefix):
            collection = _collection(namespace)
            keys = sorted(await self._store.keys(collection))
            for start in range(0, len(keys), _PAGE):
                page = keys[start : start + _PAGE]
                records = await self._store.get_many(page, collection=collection)
                fitting = {
                    key: record
                    for key, record in zip(page, records)
                    if record is not None and fits(record[0], op.filter or {})
                }
                taken = dict(list(fitting.items())[: max(0, most - len(found))])
                returned = dict(list(taken.items())[max(0, op.offset - len(found)) :])
                await self._renew(collection, returned, op.refresh_ttl)
                found += [SearchItem(namespace, key, *record[:3]) for key, record in taken.items()]
                if len(found) >= most:
                    return found[op.offset :]
        return found[op.offset :]

    async def _list_namespaces(self, op: ListNamespacesOp) -> list[_Namespace]:
        namespaces = [
            namespace
            for namespace in await self._namespaces(())
            if all(_matches(namespace, each) for each in op.match_conditions or ())
        ]
        if op.max_depth is not None:
            namespaces = sorted({namespace[: op.max_depth] for namespace in namespaces})
        return namespaces[op.offset : op.offset + op.limit]

    async def _namespaces(self, prefix: _Namespace) -> list[_Namespace]:
        names = [
            tuple(map(unquote, collection.split("/")))
            for collection in await self._store.collections()
            if collection
        ]
        return sorted(name for name in names if name[: len(prefix)] == prefix)

    async def _change(self, collection: str, ops: Sequence[PutOp]) -> None:
        kept = [op for op in ops if op.value is not None]
        keys = [op.key for op in kept]
        now = datetime.now(UTC).isoformat()
        earlier = await self._store.get_many(keys, collection=collection)
        await self._store.put_many(
            keys,
            [
                [op.value, now if before is None else before[1], now, op.ttl]
                for op, before in zip(kept, earlier)
            ],
            collection=collection,
            ttl=[None if op.ttl is None else op.ttl * 60 for op in kept],
        )
        gone = [op.key for op in ops if op.value is None]
        await self._store.delete_many(gone, collection=collection)

    async def _renew(self, collection: str, records: dict[str, Any], refresh: bool) -> None:
        """Begin the ttl of items that were read again, if they have one."""
        for key, record in records.items():
            if refresh and record[3] is not None:
                await self._store.expire(key, record[3] * 60, collection=collection)


def _matches(namespace: _Namespace, condition: MatchCondition) -> bool:
    path = condition.path
    if len(namespace) < len(path):
        return False
    begin = 0 if condition.match_type == "prefix" else len(namespace) - len(path)
    return all(wanted in ("*", label) for wanted, label in zip(path, namespace[begin:]))


def _collection(namespace: _Namespace) -> str:
    return "/".join(quote(label, safe=":|@") for label in namespace)
