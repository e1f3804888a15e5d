"""Sessions whose data is in a store; a cookie has a signed random id only."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Literal

from starlette.datastructures import MutableHeaders
from starlette.middleware.sessions import Session as StarletteSession
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse

from kvwrap.core.optimistic import ATTEMPTS, backoff, conflict
from kvwrap.core.optional import need
from kvwrap.core.store import Store
from kvwrap.core.validation import (
    checked_flag,
    checked_names,
    checked_place,
    checked_seconds,
    is_name,
)
from kvwrap.errors import ConfigurationError, CorruptEntry, DecryptionError, StoreUnavailable

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger("kvwrap.integrations")

_ID_BYTES = 32
_LONGEST_COOKIE = 200
_SHORTEST = 16
"""Characters of a secret."""

_EXPIRED = "Thu, 01 Jan 1970 00:00:00 GMT"
_MISSING = object()


class Session(StarletteSession):
    """The data of one session: `request.session`. Values are what the store's serializer takes.

    A value that is changed in place, such as a list, is not noticed: assign it again.

    Attributes:
        renewed: True once `renew` or `clear` was called.
        cleared: True once `clear` was called.
    """

    renewed = False
    cleared = False

    def renew(self) -> None:
        """Give the session another id: after a login, and whenever its rights change."""
        self.renewed = True
        self.mark_modified()

    def clear(self) -> None:
        """End the session. What is set after that is in a new one, with another id."""
        super().clear()
        self.cleared = True
        self.renew()

    # Starlette notices `request.session` only. Middleware reads `scope["session"]`, and what it
    # makes of that is of one user as well.

    def __getitem__(self, key: str) -> Any:
        self.mark_accessed()
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.mark_accessed()
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        self.mark_accessed()
        return super().__iter__()

    def __len__(self) -> int:
        self.mark_accessed()
        return super().__len__()

    def get(self, key: str, default: Any = None) -> Any:
        self.mark_accessed()
        return super().get(key, default)

    def keys(self) -> Any:
        self.mark_accessed()
        return super().keys()

    def values(self) -> Any:
        self.mark_accessed()
        return super().values()

    def items(self) -> Any:
        self.mark_accessed()
        return super().items()


class ServerSessions:
    """Middleware that keeps `request.session` in a store, instead of Starlette's in the cookie.

    The cookie is `HttpOnly`, `Secure` unless `https_only=False`, and has a random id of 256 bits
    with a signature (HMAC-SHA-256). The store has the data under a hash of the id, so who reads
    it cannot take over a session. An id that the store does not know is never taken up, and a
    cookie without a valid signature costs no call of the store.

    The id is renewed when a key of `login_keys` changes, and by `request.session.renew()`, so that
    an id that somebody planted before a login is worth nothing after it (session fixation). The
    old id ends. `request.session.clear()` ends the session; what is set after it, in the same
    request too, is in a new one with another id. A session ends `max_age` after its
    last change or use: its time begins again when half of it has passed.

    Requests at the same time change the keys that they change, and those of others stay; of two
    that change one key, the later wins. A session that one request ended is not brought back by
    another.

    Args:
        app: The application.
        store: The store, shared by all workers. Sessions are secrets: give it `.encrypt(keys)`.
        secret_key: Signs the cookies, at least 16 characters; or several, of which the first
            signs and all are accepted, so that it rotates.
        cookie: Name of the cookie. `__Host-session` keeps subdomains from setting it, if
            `path` is `/`, `domain` is None and `https_only` is True.
        max_age: Seconds.
        collection: Collection of the sessions.
        login_keys: Keys whose change renews the id.
        path: Path of the cookie.
        same_site: `lax`, `strict` or `none`.
        https_only: False sends the cookie over plain HTTP too: for development.
        domain: Domain of the cookie; if omitted, the host alone.

    If the store fails, a request with a session, or one that changes one, is answered with status
    503: without its session a user would appear logged out, or logged in only until the next
    request. A session that is corrupt or does not decrypt is left where it is, logged, and counts
    as none. A request that is cancelled while its session is saved has saved it or not. Changes
    after the response has begun, and those of WebSockets, are not saved.

    Raises:
        ConfigurationError: An argument cannot work, or itsdangerous is not installed.
    """

    def __init__(
        self,
        app: ASGIApp,
        store: Store,
        secret_key: str | Sequence[str],
        *,
        cookie: str = "session",
        max_age: float = 14 * 86_400,
        collection: str = "sessions",
        login_keys: Sequence[str] = ("user", "user_id"),
        path: str = "/",
        same_site: Literal["lax", "strict", "none"] = "lax",
        https_only: bool = True,
        domain: str | None = None,
    ) -> None:
        keys: list[Any] = [secret_key] if isinstance(secret_key, str) else list(secret_key)
        if not keys or not all(is_name(key) and len(key) >= _SHORTEST for key in keys):
            raise ConfigurationError(
                f"`secret_key` must have at least {_SHORTEST} characters of valid Unicode, as from "
                "secrets.token_urlsafe(32)"
            )
        if same_site not in ("lax", "strict", "none"):
            raise ConfigurationError(
                f"`same_site` must be 'lax', 'strict' or 'none'; got {same_site!r}"
            )
        if same_site == "none" and not https_only:
            raise ConfigurationError("`same_site='none'` needs https_only=True; browsers refuse it")
        if not isinstance(store, Store):
            raise ConfigurationError(f"`store` must be a store; got {type(store).__name__}")
        self.app = app
        self._store = store
        itsdangerous = need("itsdangerous", extra="starlette", wanted_by="ServerSessions")
        # Its newest key is the last one.
        self._signer = itsdangerous.Signer(
            keys[::-1], salt="kvwrap.sessions", digest_method=hashlib.sha256
        )
        self._cookie = cookie
        self._max_age = checked_seconds(max_age, "max_age")
        self._collection = checked_place(collection, "collection")
        self._login_keys = checked_names(login_keys, "login_keys")
        flags = f"Path={path}; HttpOnly; SameSite={same_site.capitalize()}"
        if checked_flag(https_only, "https_only"):
            flags += "; Secure"
        self._flags = flags if domain is None else f"{flags}; Domain={domain}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        cookie = HTTPConnection(scope).cookies.get(self._cookie, "")
        try:
            running = await self._load(cookie)
        except StoreUnavailable as error:
            _log.warning("a session cannot be read: %s", error)
            if scope["type"] == "http":
                await _unavailable()(scope, receive, send)
                return
            raise
        session = scope["session"] = running.session
        failed = False

        async def send_with_cookie(message: Message) -> None:
            nonlocal failed
            if failed:
                return
            if message["type"] == "http.response.start":
                try:
                    header = await self._save(running)
                except StoreUnavailable as error:
                    failed = True
                    _log.warning("a session cannot be saved: %s", error)
                    await _unavailable()(scope, receive, send)
                    return
                headers = MutableHeaders(scope=message)
                if session.accessed:
                    headers.add_vary_header("Cookie")
                if header is not None:
                    headers.append("set-cookie", header)
            await send(message)

        await self.app(scope, receive, send_with_cookie)

    async def _load(self, cookie: str) -> _Running:
        id_ = self._verified(cookie)
        if id_ is None:
            return _Running(None, {}, has_cookie=bool(cookie))
        try:
            data, left = await self._store.ttl(_name(id_), collection=self._collection)
        except (CorruptEntry, DecryptionError) as error:
            _log.warning("a session is unreadable and counts as none: %s", error)
            data, left = None, None
        if not isinstance(data, dict):
            return _Running(None, {}, has_cookie=True)
        is_old = left is not None and left < self._max_age / 2
        return _Running(id_, data, has_cookie=True, is_old=is_old)

    def _verified(self, cookie: str) -> str | None:
        if not cookie or len(cookie) > _LONGEST_COOKIE or not cookie.isascii():
            return None
        id_, _, _ = cookie.rpartition(".")
        return id_ if id_ and self._signer.validate(cookie) else None

    async def _save(self, running: _Running) -> str | None:
        """Write what has changed. Returns the value of `Set-Cookie`, if the cookie changes."""
        session = running.session
        if running.is_saved:
            return None
        running.is_saved = True
        if not session.modified:
            return await self._prolong(running)
        if not session:
            if running.id is not None:
                await self._store.delete(_name(running.id), collection=self._collection)
            return self._header(None) if running.has_cookie else None
        if running.id is None:
            return (await self._create(dict(session)))[1]
        logs_in = any(
            session.get(key, _MISSING) != running.before.get(key, _MISSING)
            for key in self._login_keys
        )
        return await self._merge(running, running.id, renew=session.renewed or logs_in)

    async def _prolong(self, running: _Running) -> str | None:
        """Begin the time of a session again, if half of it has passed."""
        if running.id is None or not running.is_old:
            return None
        name = _name(running.id)
        found = await self._store.expire(name, self._max_age, collection=self._collection)
        return self._header(running.id) if found else None

    async def _create(self, data: dict[str, Any]) -> tuple[str, str]:
        """Write a new session. Returns its name in the store, and the cookie."""
        id_ = secrets.token_urlsafe(_ID_BYTES)
        await self._store.put(_name(id_), data, collection=self._collection, ttl=self._max_age)
        return _name(id_), self._header(id_)

    async def _merge(self, running: _Running, id_: str, *, renew: bool) -> str | None:
        """Apply the changes to what is stored now. Returns the cookie.

        Returns None if the session has ended: by a logout, or by a login, whose new cookie the
        browser may have already. The old one opens nothing.

        A new id is there before the old one ends. Cancelled between the two, the login is in
        neither the old session nor the browser.
        """
        name = _name(id_)
        for attempt in ATTEMPTS:
            await backoff(attempt)
            stored = await self._store.get_versioned(name, collection=self._collection)
            if stored is None or not isinstance(stored.value, dict):
                return None
            merged = running.applied_to(stored.value)
            if not renew:
                if await self._store.compare_and_put(
                    name, merged, stored.version, collection=self._collection, ttl=self._max_age
                ):
                    return self._header(id_)
                continue
            created, header = await self._create(merged)
            if await self._store.compare_and_delete(
                name, stored.version, collection=self._collection
            ):
                return header
            await self._store.delete(created, collection=self._collection)
        raise conflict(self._store.name, self._collection, name)

    def _header(self, id_: str | None) -> str:
        if id_ is None:
            return f"{self._cookie}=null; Expires={_EXPIRED}; Max-Age=0; {self._flags}"
        signed = self._signer.sign(id_).decode()
        return f"{self._cookie}={signed}; Max-Age={int(self._max_age)}; {self._flags}"


class _Running:
    """A session during one request."""

    def __init__(
        self, id_: str | None, data: dict[str, Any], *, has_cookie: bool, is_old: bool = False
    ) -> None:
        self.id = id_
        # A copy, so that a value which was changed in place and assigned again has changed.
        self.before = deepcopy(data)
        self.session = Session(data)
        self.has_cookie = has_cookie
        self.is_old = is_old
        self.is_saved = False

    def applied_to(self, stored: dict[str, Any]) -> dict[str, Any]:
        """Return what is stored with the changes of this request."""
        if self.session.cleared:
            return dict(self.session)
        deleted = self.before.keys() - self.session.keys()
        changed = {
            key: value
            for key, value in self.session.items()
            if self.before.get(key, _MISSING) != value
        }
        return {key: value for key, value in stored.items() if key not in deleted} | changed


def _name(id_: str) -> str:
    return hashlib.sha256(id_.encode()).hexdigest()


def _unavailable() -> PlainTextResponse:
    headers = {"retry-after": "1", "cache-control": "no-store"}
    return PlainTextResponse("Service Unavailable", 503, headers)
