"""The index of a store: its set-up, its documents and searches."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import orjson

from kvwrap.errors import ConfigurationError
from kvwrap.stores.elasticsearch import documents
from kvwrap.stores.elasticsearch.clients import HTTPClient
from kvwrap.stores.elasticsearch.documents import Query
from kvwrap.stores.elasticsearch.requests import Refused, Requests, pause, refusal_of
from kvwrap.stores.shared.heads import Head

_PARTIAL: Final = "partial results"
_MOST_BYTES: Final = 100 * 1024 * 1024
"""Bytes of a request, unless the servers say otherwise."""
_SETUPS: Final = 8
"""Attempts to make the index while others make or delete it."""
_ANY_INDEX: Final = "ignore_unavailable=true"
"""Lets a request find nothing if there is no index."""
_ALL: Final = f"{_ANY_INDEX}&allow_partial_search_results=false"
_MAPPING: Final = {"dynamic": "strict", "properties": documents.PROPERTIES}


class Found(NamedTuple):
    """What a document has that conditions need.

    Attributes:
        head: Version and expiry.
        seq_no: The sequence number of its last change.
        term: The term of the primary shard that assigned it.
    """

    head: Head
    seq_no: int
    term: int


class Action(NamedTuple):
    """A line of a bulk request, and the document that follows it, unless it deletes."""

    head: bytes
    document: bytes | None = None

    @classmethod
    def put(cls, document_id: str, document: bytes) -> Action:
        """Return the action that writes a document, whatever there is."""
        return cls(_action("index", document_id), document)

    @classmethod
    def create(cls, document_id: str, document: bytes) -> Action:
        """Return the action that writes a document where it is missing."""
        return cls(_action("create", document_id), document)

    @classmethod
    def replace(cls, document_id: str, document: bytes, found: Found) -> Action:
        """Return the action that writes a document if nothing has changed since it was read."""
        return cls(_action("index", document_id, found), document)

    @classmethod
    def delete(cls, document_id: str, found: Found) -> Action:
        """Return the action that deletes a document if nothing has changed since it was read."""
        return cls(_action("delete", document_id, found))


class Index:
    """An index under an alias, which all requests use.

    Writes require the alias, so that no server makes an index of another mapping by itself if this
    one is deleted. It is made again then.

    Args:
        client: A client of the servers.
        alias: The name that requests use. The index made under it is `alias-000001`.
        timeout: Seconds after which a server gives up what it waits for; None for its default.
        servers: The number of servers, of which another one is tried if one cannot be reached.
        before_creation: Called if there is no index; raises an error to not create it.
    """

    def __init__(
        self,
        client: HTTPClient,
        alias: str,
        *,
        timeout: float | None,
        servers: int,
        before_creation: Callable[[], None],
    ) -> None:
        self.client = client
        self.alias = alias
        self._before_creation = before_creation
        patience = 60.0 if timeout is None else timeout * 0.8
        self._requests = Requests(client, alias, patience=patience, servers=servers)
        self._most_bytes: int | None = None
        # A write that waits for a shard must not be carried out after its caller gave it up.
        limit = "" if timeout is None else f"&timeout={max(1, round(timeout * 1000))}ms"
        self._write = f"require_alias=true{limit}"

    # -- set-up --------------------------------------------------------------------------

    async def ensure(self) -> None:
        """Create the index unless it exists. Several processes may do so.

        An account that may not look or create uses what is there.

        Raises:
            ConfigurationError: The index is not one of kvwrap.
        """
        for attempt in range(_SETUPS):
            answer = await self._requests.ask("GET", f"/_mapping?{_ANY_INDEX}", accepted=(403,))
            if answer.status == 403:
                return
            if answer.body:
                self._check(answer.body)
                return
            self._before_creation()
            body = orjson.dumps({"aliases": {self.alias: {}}, "mappings": _MAPPING})
            try:
                await self._requests.ask("PUT", "-000001", body, has="acknowledged")
            except Refused as refusal:
                if refusal.kind != "resource_already_exists_exception":
                    raise
            else:
                return
            await pause(attempt)
        raise ConfigurationError(
            f"the index '{self.alias}-000001' must have the alias {self.alias!r}; it has not: add "
            "the alias, or choose another index_prefix"
        )

    def _check(self, found: dict[str, Any]) -> None:
        if len(found) != 1:
            raise ConfigurationError(
                f"the alias {self.alias!r} must have one index; it has {len(found)}: choose "
                "another index_prefix"
            )
        for index, description in found.items():
            properties = description.get("mappings", {}).get("properties", {})
            if index == self.alias or any(
                properties.get(name, {}).get("type") != field["type"]
                for name, field in documents.PROPERTIES.items()
            ):
                raise ConfigurationError(
                    f"the index {index!r} must be one that kvwrap made, under the alias "
                    f"{self.alias!r}; it is not: choose another index_prefix"
                )

    async def indices(self) -> list[str]:
        """Return the indices that have the alias."""
        return list((await self._requests.ask("GET", f"/_alias?{_ANY_INDEX}")).body)

    async def delete_index(self, name: str) -> None:
        """Delete an index, unless it is gone already."""
        answer = await self._requests.send("DELETE", f"/{name}?{_ANY_INDEX}")
        if answer.status not in (200, 404):
            raise refusal_of(answer)

    async def most_bytes(self) -> int:
        """Return the maximum size of a request, which is asked for once."""
        if self._most_bytes is None:
            answer = await self._requests.send("GET", "/_nodes/http")
            nodes = answer.body.get("nodes", {}) if isinstance(answer.body, dict) else {}
            limits = [
                limit
                for node in nodes.values()
                if isinstance(limit := node.get("http", {}).get("max_content_length_in_bytes"), int)
            ]
            self._most_bytes = min(limits, default=_MOST_BYTES)
        return self._most_bytes

    # -- single documents ----------------------------------------------------------------

    async def get(self, document_id: str) -> Any:
        """Return the fields of a document, or None if it is missing. Sees every write."""
        path = f"/_doc/{quote(document_id, safe='')}"
        answer = await self._requests.ask("GET", path, has="found", accepted=(404,), may_miss=True)
        refusal = refusal_of(answer)
        if "found" not in answer.body and not refusal.is_missing_index:
            raise refusal
        return answer.body.get("_source")

    async def put(self, document_id: str, document: bytes) -> None:
        """Write a document, whatever there is."""
        path = f"/_doc/{quote(document_id, safe='')}?{self._write}"
        # A PUT would be sent again by aiohttp if its answer is lost.
        attempt = 0
        while True:
            try:
                await self._requests.ask("POST", path, document, has="result")
            except Refused as refusal:
                if attempt == _SETUPS or not refusal.is_missing_index:
                    raise
            else:
                return
            await self.ensure()
            await pause(attempt)
            attempt += 1

    # -- several documents ---------------------------------------------------------------

    async def get_many(self, ids: Sequence[str]) -> list[Any]:
        """Return the fields of documents, None for each that is missing. Sees every write."""
        return [found.get("_source") for found in await self._mget(ids, "")]

    async def find(self, ids: Sequence[str]) -> list[Found | None]:
        """Return what conditions need of documents, None for each that is missing."""
        return [
            Found(documents.head(found.get("_source")), found["_seq_no"], found["_primary_term"])
            if found.get("found")
            else None
            for found in await self._mget(ids, f"?_source_includes={documents.HEAD}")
        ]

    async def _mget(self, ids: Sequence[str], parameters: str) -> list[dict[str, Any]]:
        body = orjson.dumps({"ids": ids})
        answer = await self._requests.ask(
            "POST", f"/_mget{parameters}", body, has="docs", accepted=(404,)
        )
        if answer.status == 404:
            refusal = refusal_of(answer)
            if not refusal.is_missing_index:
                raise refusal
            return [{}] * len(ids)
        found: list[dict[str, Any]] = answer.body["docs"]
        for each in found:
            if "error" in each and not Refused.of(404, each["error"]).is_missing_index:
                raise Refused.of(503, each["error"])
        return found

    async def bulk(self, actions: Sequence[Action]) -> list[Refused | None]:
        """Carry out actions. Returns the refusal of each, or None for those that were done.

        What a server is too busy for, or what finds no index, is sent again.
        """
        outcomes: list[Refused | None] = [None] * len(actions)
        left = list(range(len(actions)))
        deadline = time.monotonic() + self._requests.patience
        attempt = 0
        while left:
            body = b"".join([_lines(actions[index]) for index in left])
            answer = await self._requests.ask("POST", f"/_bulk?{self._write}", body, has="errors")
            again: list[int] = []
            is_missing = False
            if answer.body["errors"]:
                for index, item in zip(left, answer.body["items"], strict=True):
                    (result,) = item.values()
                    outcomes[index] = refusal = _refusal_of_item(result)
                    if refusal is not None and (refusal.is_busy or refusal.is_missing_index):
                        again.append(index)
                        is_missing |= refusal.is_missing_index
            else:
                for index in left:
                    outcomes[index] = None
            if again and time.monotonic() >= deadline:
                return outcomes
            if is_missing:
                await self.ensure()
            if again:
                await pause(attempt)
            attempt += 1
            left = again
        return outcomes

    # -- searches ------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Let searches see every write that was acknowledged before."""
        answer = await self._requests.ask("POST", f"/_refresh?{_ANY_INDEX}", has="_shards")
        if answer.body.get("_shards", {}).get("failed"):
            raise Refused(503, _PARTIAL)

    async def search(self, body: Query) -> Any:
        """Return the answer of a search, which is never of a part of the shards."""
        path = f"/_search?{_ALL}"
        answer = await self._requests.ask("POST", path, orjson.dumps(body), has="hits")
        if answer.body.get("timed_out"):
            raise Refused(503, _PARTIAL)
        return answer.body

    async def count(self, query: Query) -> int:
        """Return the number of documents that match a query."""
        body = orjson.dumps({"query": query})
        answer = await self._requests.ask("POST", f"/_count?{_ANY_INDEX}", body, has="count")
        if answer.body.get("_shards", {}).get("failed"):
            raise Refused(503, _PARTIAL)
        return int(answer.body["count"])


def _action(kind: str, document_id: str, found: Found | None = None) -> bytes:
    options: dict[str, Any] = {"_id": document_id}
    if found is not None:
        options.update(if_seq_no=found.seq_no, if_primary_term=found.term)
    return orjson.dumps({kind: options})


def _lines(action: Action) -> bytes:
    if action.document is None:
        return b"%b\n" % action.head
    return b"%b\n%b\n" % (action.head, action.document)


def _refusal_of_item(result: dict[str, Any]) -> Refused | None:
    status = int(result["status"])
    return None if status < 300 else Refused.of(status, result.get("error"))
