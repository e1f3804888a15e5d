"""Which responses a shared cache may keep, and for how long (RFC 9111)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers

if TYPE_CHECKING:
    from starlette.types import Scope

_STATUSES = frozenset({200, 203, 301, 308, 404, 410})


@dataclass(frozen=True)
class Answer:
    """A response that is kept.

    Attributes:
        status: Its status.
        headers: Its headers, without those of the cache.
        body: Its body.
        made: When it was computed, in Unix seconds.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    made: float

    def record(self) -> list[Any]:
        """Return what is stored."""
        return [self.status, [list(header) for header in self.headers], self.body, self.made]

    @classmethod
    def parsed(cls, record: object) -> Answer | None:
        """Return the response that is stored; `None` for any other value."""
        match record:
            case [int(status), list(headers), bytes(body), float(made)]:
                pairs = [tuple(header) for header in headers if isinstance(header, list)]
                if all(len(pair) == 2 and all(isinstance(each, bytes) for each in pair)
                       for pair in pairs):  # fmt: skip
                    return cls(status, pairs, body, made)
        return None


@dataclass(frozen=True)
class Rules:
    """What is kept; see `ResponseCache`."""

    ttl: float | None
    authorized: bool
    cookies: bool

    def ttl_of(self, status: int, headers: Headers | Any, scope: Scope) -> float | None:
        """Return for how many seconds a response is kept; `None` if it is not."""
        control = directives(headers)
        vary = vary_names(list(headers.raw))
        if (
            status not in _STATUSES
            or not control.keys().isdisjoint({"no-store", "no-cache", "private"})
            or ("set-cookie" in headers and not self.cookies)
            or not {"*", "cookie"}.isdisjoint(vary)
            or _has_used_session(scope)
        ):
            return None
        if not may_serve(headers, scope):
            return None
        for name in ("s-maxage", "max-age"):
            if name in control:
                left = seconds(control[name]) - seconds(headers.get("age"))
                return float(left) if left > 0 else None
        return self.ttl


def may_serve(headers: Headers | Any, scope: Scope) -> bool:
    """Tell whether a response may be kept for, or served to, a request of somebody logged in."""
    return "authorization" not in Headers(scope=scope) or not directives(headers).keys().isdisjoint(
        {"public", "s-maxage"}
    )


def _has_used_session(scope: Scope) -> bool:
    """Tell whether the application has read or changed the session, which is of one user.

    What keeps sessions adds `Vary: Cookie` and `Set-Cookie` outside of this cache.
    """
    session = scope.get("session")
    if session is None:
        return False
    accessed = getattr(session, "accessed", None)
    if accessed is None:  # of a middleware that does not tell
        return bool(session)
    return bool(accessed or session.modified)


def is_plain(scope: Scope, rules: Rules) -> bool:
    """Tell whether a request may be answered by a cache, and its response kept."""
    headers = Headers(scope=scope)
    return (
        scope["method"] == "GET"
        and "range" not in headers
        and (rules.authorized or "authorization" not in headers)
        and "no-store" not in directives(headers)
    )


def is_unsafe(scope: Scope) -> bool:
    """Tell whether a request may change what its URL shows."""
    return scope["method"] not in ("GET", "HEAD", "OPTIONS", "TRACE")


def directives(headers: Headers | Any) -> Mapping[str, str]:
    """Return the directives of all `Cache-Control` headers, in lower case."""
    found: dict[str, str] = {}
    for part in ",".join(headers.getlist("cache-control")).split(","):
        name, _, value = part.strip().partition("=")
        if name:
            found.setdefault(name.lower(), value.strip().strip('"'))
    return found


def vary_names(headers: list[tuple[bytes, bytes]]) -> list[str]:
    """Return the names in `Vary` headers, in lower case and in order."""
    text = b",".join(value for name, value in headers if name.lower() == b"vary").decode("latin-1")
    return sorted({name.strip().lower() for name in text.split(",") if name.strip()})


def not_modified(request: Headers, status: int, response: Headers | Any) -> bool:
    """Tell whether the client has the response already, by its `ETag`.

    Conditions of requests count for successful responses only (RFC 9110, 13.2.1): another one has
    to be seen as what it is.
    """
    if not 200 <= status < 300:
        return False
    etag = response.get("etag")
    wanted = request.get("if-none-match")
    if etag is None or wanted is None:
        return False
    known = {each.strip().removeprefix("W/") for each in wanted.split(",")}
    return wanted.strip() == "*" or etag.removeprefix("W/") in known


def seconds(text: str | None) -> int:
    """Return a header's number of seconds; 0 for one that is missing or no number."""
    is_number = text is not None and text.isascii() and text.isdecimal() and len(text) < 20
    return min(int(text), 2**31) if text is not None and is_number else 0
