"""Which responses a shared cache may keep, and for how long (RFC 9111)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
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

    def ttl_of(
        self, status: int, headers: Headers | Any, request: Headers, scope: Scope, now: float
    ) -> float | None:
        """Return for how many seconds a response is kept; `None` if it is not.

        Args:
            status: The status of the response.
            headers: Its headers.
            request: The headers of the request.
            scope: The scope of the request, as the application has left it until now.
            now: The time, in Unix seconds.
        """
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
        if not may_serve(headers, request):
            return None
        stated = _stated(control, headers, now)
        if stated is None:
            return self.ttl
        left = stated - seconds(headers.get("age"))
        return left if left > 0 else None


def _stated(control: Mapping[str, str], headers: Headers | Any, now: float) -> float | None:
    """Return for how many seconds a response says that it is fresh; `None` if it does not say."""
    for name in ("s-maxage", "max-age"):
        if name in control:
            return float(seconds(control[name]))
    if "expires" not in headers:
        return None
    end = _moment(headers["expires"])  # what is no date, such as 0, means that it has expired
    begin = _moment(headers.get("date", ""))
    return 0.0 if end is None else end - (now if begin is None else begin)


def _moment(text: str) -> float | None:
    """Return a header's date in Unix seconds; `None` for what is no date."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def may_serve(headers: Headers | Any, request: Headers) -> bool:
    """Tell whether a response may be kept for, or served to, a request of somebody logged in."""
    return "authorization" not in request or not directives(headers).keys().isdisjoint(
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
        and not _has_body(headers)
        and (rules.authorized or "authorization" not in headers)
        and "no-store" not in directives(headers)
    )


def _has_body(headers: Headers) -> bool:
    """Tell whether a request announces a body: the key of a response does not cover it."""
    lengths = {length.strip() for length in headers.getlist("content-length")}
    return "transfer-encoding" in headers or not lengths <= {"0"}


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
