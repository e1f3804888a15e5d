"""Responses in a store: how they are found, and what ends them before their time."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers

from kvwrap.builder import stack
from kvwrap.core.atomic import Versioned
from kvwrap.core.capability import Capability
from kvwrap.core.store import Store
from kvwrap.errors import KvwrapError
from kvwrap.integrations.shared.best_effort import BestEffort, tell_failure
from kvwrap.integrations.starlette.rules import Answer, may_serve, vary_names

if TYPE_CHECKING:
    from starlette.types import Scope

_ENDED_FOR: Final = 3600
"""Seconds for which it is remembered that what was kept for a URL has ended."""
_ATTEMPTS: Final = 4
"""Attempts to keep a response while others keep theirs for the same URL."""


_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class Asked(NamedTuple):
    """What a request asks for, as it was before the application could change its scope.

    Attributes:
        url: Key of the URL. It is the same for all spellings that an application may see as one,
            such as `/tea` and `/%74ea`.
        spelling: Key of the URL as it was written.
        headers: The headers.
    """

    url: str
    spelling: str
    headers: Headers

    @classmethod
    def by(cls, scope: Scope) -> Asked:
        """Return what this request asks for."""
        headers = Headers(raw=[*scope["headers"]])
        scheme = scope.get("scheme", "http")
        host = headers.get("host", "").lower()
        path = scope["path"].encode("utf-8", "surrogatepass")
        query = scope.get("query_string", b"")
        bare = host.removesuffix(_DEFAULT_PORTS.get(scheme, ""))
        decoded = unquote_to_bytes(query.replace(b"+", b" "))
        return cls(
            digest([scheme.encode(), bare.encode("latin-1"), path, decoded]),
            digest([host.encode("latin-1"), scope.get("raw_path") or path, query]),
            headers,
        )


class Found(NamedTuple):
    """What was found for a request.

    Attributes:
        answer: The response; None for a miss.
        token: What the responses of the URL have in common now; None if there are none. Another
            one means that they have ended meanwhile.
    """

    answer: Answer | None
    token: bytes | None


class Kept:
    """Keeps responses, each under its URL and the request headers that its `Vary` names.

    A record of the URL has the names of these headers and a token, which the responses have too.
    What ends them replaces the record, so a response that was computed before finds another token,
    and is not kept. The record is of all spellings of the URL, and a response is of one: so a
    change ends them all, and an application that tells spellings apart gets no other's response.

    Args:
        store: The store.
        collection: The collection.
    """

    def __init__(self, store: Store, collection: str) -> None:
        self._store = stack(BestEffort()).serialize("msgpack").over(store)
        self._collection = collection

    def now(self) -> float:
        """Return the time of the store's clock, in Unix seconds."""
        return self._store.clock.time()

    async def find(self, asked: Asked) -> Found:
        """Return the response to a request, if one is kept."""
        record = await self._store.get(f"v/{asked.url}", collection=self._collection)
        token, names = _parsed(record)
        if token is None or names is None:
            return Found(None, token)
        kept = await self._store.get(_key(asked, names), collection=self._collection)
        if not isinstance(kept, list) or len(kept) != 2 or kept[0] != token:
            return Found(None, token)
        answer = Answer.parsed(kept[1])
        if answer is None or not may_serve(Headers(raw=answer.headers), asked.headers):
            answer = None
        return Found(answer, token)

    async def keep(self, asked: Asked, answer: Answer, ttl: float, token: bytes | None) -> bool:
        """Write a response, unless those of its URL have ended since it was begun.

        Args:
            asked: The request.
            answer: The response.
            ttl: Seconds for which it is kept.
            token: The token that was found when the response was begun.

        Returns:
            True if it is kept.
        """
        names = vary_names(answer.headers)
        chosen = token or secrets.token_bytes(16)
        for attempt in range(_ATTEMPTS):
            record = await self._store.get_versioned(f"v/{asked.url}", collection=self._collection)
            if _parsed(record and record.value)[0] != token:
                return False
            # What refuses a second time and cannot be read is damaged, or of lost keys.
            is_forced = attempt > 0 and record is None
            if await self._replace(asked.url, record, [chosen, names], ttl, force=is_forced):
                await self._store.put(
                    _key(asked, names),
                    [chosen, answer.record()],
                    collection=self._collection,
                    ttl=ttl,
                )
                return True
        return False

    async def _replace(
        self, url: str, old: Versioned | None, new: list[Any], ttl: float, *, force: bool
    ) -> bool:
        """Write the record of a URL if it has not changed, as far as the store can compare."""
        key = f"v/{url}"
        # Not shorter than what ends responses: what was begun before that would be kept after it.
        options: dict[str, Any] = {"collection": self._collection, "ttl": max(ttl, _ENDED_FOR)}
        try:
            if force or Capability.COMPARE_AND_PUT not in self._store.capabilities:
                await self._store.put(key, new, **options)
                return True
            if old is None:
                return await self._store.put_if_absent(key, new, **options)
            return await self._store.compare_and_put(key, new, old.version, **options)
        except KvwrapError as error:
            tell_failure("write, which is dropped", error)
            return False

    async def end(self, url: str) -> None:
        """End what is kept for a URL, and what is computed now."""
        await self._store.put(
            f"v/{url}",
            [secrets.token_bytes(16), None],
            collection=self._collection,
            ttl=_ENDED_FOR,
        )


def _parsed(record: object) -> tuple[bytes | None, list[str] | None]:
    """Return the token and the names of a record of a URL; None for what it has not."""
    match record:
        case [bytes(token), list(names)] if all(isinstance(each, str) for each in names):
            return token, names
        case [bytes(token), None]:
            return token, None
    return None, None


def _key(asked: Asked, names: list[str]) -> str:
    values = [f"{name}: {', '.join(asked.headers.getlist(name))}".encode() for name in names]
    return f"r/{asked.url}/{digest([asked.spelling.encode(), *values])}"


def digest(parts: list[bytes]) -> str:
    """Return a text of fixed length that stands for these parts."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        state.update(len(part).to_bytes(8) + part)
    return state.hexdigest()
