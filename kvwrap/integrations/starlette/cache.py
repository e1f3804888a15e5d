"""Responses that are computed once, and sent again while they are fresh."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from cachetools import LRUCache
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response

from kvwrap.core.store import Store
from kvwrap.core.validation import checked_count, checked_flag, checked_place, checked_seconds
from kvwrap.errors import ConfigurationError
from kvwrap.integrations.starlette.kept import Asked, Kept
from kvwrap.integrations.starlette.rules import (
    Answer,
    Rules,
    is_plain,
    is_unsafe,
    not_modified,
    seconds,
)

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_REMEMBERED = 10_000
"""URLs whose responses cannot be kept that a process remembers."""

_REFUSED_FOR = 60
"""Seconds for which it remembers them."""


class ResponseCache:
    """Middleware that keeps responses to GET requests in a store (RFC 9111, a shared cache).

    A response is kept for its `s-maxage` or `max-age`, or until its `Expires`, or for `ttl` if it
    states none of them, if its status is 200, 203, 301, 308, 404 or 410 and it ended without an
    error. It is found again by scheme, host, path and query, and by the request headers that its
    `Vary` names. Never kept are responses with `Set-Cookie`, `Cache-Control: private`, `no-store`
    or `no-cache`, `Vary: *` or `Vary: Cookie`, and responses to requests with a body,
    `Authorization`, `Range` or `Cache-Control: no-store`. Other demands of clients to bypass
    a cache are not obeyed.

    While one request computes a response, others of this process with the same URL wait for it
    (single flight), unless such a response could not be kept a moment ago. Responses of the cache
    have `Age`, and all have `Cache-Status` (RFC 9211).

    A response for which the application used `request.session`, until the end of its body, is not
    kept either. An answer to a POST, or another request that may change something, ends what is
    kept for its URL, however it is written, unless it is an error. A response that was begun
    before it, in whatever process, is not kept, if the store compares versions and the response
    took less than an hour.

    Put it outside of middleware that changes responses, and inside of what must run for every
    request, such as `ServerSessions`, rate limits and logging.

    Args:
        app: The application.
        store: The store, shared by all workers.
        ttl: Seconds for which responses are kept that do not say for how long; if omitted, these
            are not kept.
        collection: Collection of the responses; destroy it to empty the cache.
        authorized: Whether requests with `Authorization` are served and kept if the response
            says `public` or `s-maxage`: for responses that do not depend on who asks.
        cookies: Whether responses with `Set-Cookie` are kept, whose cookies then go to everybody.
        etag: Whether responses get an `ETag` of their body, and requests that have it 304.
        max_size: Bytes of the largest body that is kept.

    A store that fails is a cache without entries: the application answers, and a warning is
    logged. So are entries that are corrupt or do not decrypt. A request that is cancelled while
    others wait for it leaves them to the application; a response that broke off is not kept.

    Raises:
        ConfigurationError: An argument cannot work.
    """

    def __init__(
        self,
        app: ASGIApp,
        store: Store,
        *,
        ttl: float | None = None,
        collection: str = "responses",
        authorized: bool = False,
        cookies: bool = False,
        etag: bool = False,
        max_size: int = 2**20,
    ) -> None:
        if not isinstance(store, Store):
            raise ConfigurationError(f"`store` must be a store; got {type(store).__name__}")
        self.app = app
        self._kept = Kept(store, checked_place(collection, "collection"))
        self._rules = Rules(
            ttl=None if ttl is None else checked_seconds(ttl, "ttl"),
            authorized=checked_flag(authorized, "authorized"),
            cookies=checked_flag(cookies, "cookies"),
        )
        self._etag = checked_flag(etag, "etag")
        self._max_size = checked_count(max_size, "max_size")
        self._flights: dict[str, asyncio.Future[None]] = {}
        self._not_kept: LRUCache[str, float] = LRUCache(_REMEMBERED)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = Asked.by(scope)
        url = asked.url
        if not is_plain(scope, self._rules):
            if is_unsafe(scope):
                send = self._ending(url, send)
            await self.app(scope, receive, send)
            return
        found = await self._kept.find(asked)
        if found.answer is None and self._not_kept.get(url, 0.0) <= self.now():
            flight = self._flights.get(url)
            if flight is not None:
                await asyncio.shield(flight)
                found = await self._kept.find(asked)
        if found.answer is not None:
            await _respond(found.answer, self.now(), scope, receive, send)
            return
        flight = None
        if url not in self._flights:
            flight = self._flights[url] = asyncio.get_running_loop().create_future()
        recorder = _Recorder(self, asked, found.token, scope, receive, send, flight)
        try:
            await self.app(scope, recorder.receive, recorder.send)
        finally:
            recorder.land()

    def _ending(self, url: str, send: Send) -> Send:
        """Return a `send` by which a response that is no error ends what is kept for its URL."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                await self._kept.end(url)
            await send(message)

        return sending

    async def keep(self, asked: Asked, answer: Answer, ttl: float, token: bytes | None) -> bool:
        """Keep a response; see `Kept.keep`."""
        return await self._kept.keep(asked, answer, ttl, token)

    def refuse(self, url: str) -> None:
        """Let requests of this URL not wait for each other for a minute."""
        self._not_kept[url] = self.now() + _REFUSED_FOR

    def now(self) -> float:
        """Return the time of the store's clock, in Unix seconds."""
        return self._kept.now()


class _Recorder:
    """Sends a response on, and keeps it if it can be kept."""

    def __init__(
        self,
        cache: ResponseCache,
        asked: Asked,
        token: bytes | None,
        scope: Scope,
        receive: Receive,
        send: Send,
        flight: asyncio.Future[None] | None,
    ) -> None:
        self._cache = cache
        self._asked = asked
        self._token = token
        self._scope = scope
        self._receive = receive
        self._send = send
        self._flight = flight
        self._start: Message | None = None
        self._body = bytearray()
        self._has_read_body = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message.get("body"):
            self._has_read_body = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif message["type"] == "http.response.body" and self._start is not None:
            await self._go_on(message)
        else:
            if self._start is not None:  # a body of another kind, such as the path of a file
                self._give_up()
                start, self._start = self._start, None
                await self._send(start)
            await self._send(message)

    async def _begin(self, message: Message) -> None:
        message.setdefault("headers", [])
        is_kept = self._ttl(message) is not None
        status = "kvwrap; fwd=miss; stored" if is_kept else "kvwrap; fwd=miss"
        MutableHeaders(scope=message).append("cache-status", status)
        if is_kept:
            # With an ETag, or a response that is not kept in the end, the start changes yet.
            self._start = message
        else:
            self._give_up()
            await self._send(message)

    def _ttl(self, start: Message) -> float | None:
        """Return for how many seconds the response is kept, by what is known of it until now."""
        if self._has_read_body:
            return None
        headers = Headers(raw=start["headers"])
        return self._cache._rules.ttl_of(
            start["status"], headers, self._asked.headers, self._scope, self._cache.now()
        )

    async def _go_on(self, message: Message) -> None:
        assert self._start is not None
        self._body += message.get("body", b"")
        if len(self._body) > self._cache._max_size:
            self._give_up()
            await self._pass_on(message.get("more_body", False))
        elif not message.get("more_body", False):
            await self._end()

    async def _end(self) -> None:
        assert self._start is not None
        headers = MutableHeaders(scope=self._start)
        length = str(len(self._body))
        # Again, since what computed the body may have used the session or the request's body.
        ttl = self._ttl(self._start)
        if ttl is None or headers.get("content-length", length) != length:
            self._give_up()
            await self._pass_on(False)
            return
        headers["content-length"] = length
        if self._cache._etag and "etag" not in headers:
            digest = hashlib.blake2b(self._body, digest_size=16).hexdigest()
            headers["etag"] = f'"{digest}"'
        answer = Answer(
            self._start["status"],
            [(name, value) for name, value in headers.raw if name.lower() != b"cache-status"],
            bytes(self._body),
            self._cache.now(),
        )
        if not await self._cache.keep(self._asked, answer, ttl, self._token):
            headers["cache-status"] = "kvwrap; fwd=miss"
        self.land()
        if self._cache._etag and not_modified(self._asked.headers, answer.status, headers):
            self._start = {**self._start, "status": 304}
            for name in ("content-length", "content-type", "content-encoding"):
                del MutableHeaders(scope=self._start)[name]
            self._body.clear()
        await self._pass_on(False)

    async def _pass_on(self, more: bool) -> None:
        """Send what was held back, and everything after it at once."""
        start, self._start = self._start, None
        assert start is not None
        await self._send(start)
        await self._send(
            {"type": "http.response.body", "body": bytes(self._body), "more_body": more}
        )
        self._body.clear()

    def _give_up(self) -> None:
        """Let those who wait go on, since the response is not kept."""
        if self._start is not None:
            MutableHeaders(scope=self._start)["cache-status"] = "kvwrap; fwd=miss"
        self._cache.refuse(self._asked.url)
        self.land()

    def land(self) -> None:
        """Let those who wait go on."""
        if self._flight is not None:
            del self._cache._flights[self._asked.url]
            self._flight.set_result(None)
            self._flight = None


async def _respond(answer: Answer, now: float, scope: Scope, receive: Receive, send: Send) -> None:
    response = Response(b"", answer.status)
    response.raw_headers = [*answer.headers]
    headers = response.headers
    headers["age"] = str(seconds(headers.get("age")) + max(0, int(now - answer.made)))
    headers.append("cache-status", "kvwrap; hit")
    if not_modified(Headers(scope=scope), answer.status, headers):
        response.status_code = 304
        for name in ("content-length", "content-type", "content-encoding"):
            del headers[name]
    else:
        response.body = answer.body
    await response(scope, receive, send)
