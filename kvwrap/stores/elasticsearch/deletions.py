"""Deleting all documents that match a query, page by page, so that each call is short."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from kvwrap.stores.elasticsearch import documents
from kvwrap.stores.elasticsearch.documents import Query
from kvwrap.stores.elasticsearch.index import Action, Found, Index
from kvwrap.stores.shared.client import Client
from kvwrap.stores.shared.heads import Head

_PAGE: Final = 1000
_CHANGED: Final = frozenset({404, 409})


async def delete_matching(client: Client[Index], query: Query, now: float) -> int:
    """Delete the documents that match a query. What is written meanwhile stays.

    Args:
        client: The client.
        query: The query.
        now: The time, for the result.

    Returns:
        How many of them had not expired.

    Raises:
        Refused: A document may not be deleted.
    """
    count = 0
    search = documents.deletion_search(query, _PAGE)

    async def delete_page(index: Index) -> Sequence[Any]:
        nonlocal count
        hits: Sequence[Any] = (await index.search(search))["hits"]["hits"]
        actions = [
            Action.delete(hit["_id"], Found(Head(), hit["_seq_no"], hit["_primary_term"]))
            for hit in hits
        ]
        for hit, refusal in zip(hits, await index.bulk(actions), strict=True):
            if refusal is None:
                count += documents.is_live(hit, now)
            elif refusal.status not in _CHANGED:
                raise refusal
        return hits

    await client.run(Index.refresh)
    while len(hits := await client.run(delete_page)) == _PAGE:
        search["search_after"] = hits[-1]["sort"]
    return count
