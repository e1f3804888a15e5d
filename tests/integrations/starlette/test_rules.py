"""Which responses are kept: stated freshness, bodies of requests, and what shows at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from email.utils import formatdate
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from kvwrap import MemoryStore, Store
from kvwrap.integrations.starlette import ResponseCache, ServerSessions
from kvwrap.testing import ManualClock
from tests.integrations.starlette.shop import FRESH, App, serving

SECRET = "a secret of the tests"
MISS = "kvwrap; fwd=miss"


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def store(clock: ManualClock) -> Store:
    return MemoryStore(clock=clock)


# -- what is known at the end only ---------------------------------------------------------


@pytest.mark.parametrize("is_outside", [True, False])
async def test_a_streamed_response_that_uses_the_session_is_not_kept(
    store: Store, is_outside: bool
) -> None:
    async def login(request: Request) -> Response:
        request.session["user"] = request.query_params["user"]
        return PlainTextResponse("ok")

    async def page(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            yield b"hello "
            await asyncio.sleep(0)
            yield str(request.session.get("user")).encode()

        return StreamingResponse(body(), headers=FRESH)

    shop = Starlette(routes=[Route("/login", login), Route("/", page)])
    if is_outside:
        app: Any = ServerSessions(
            ResponseCache(shop, store), MemoryStore(), SECRET, https_only=False
        )
    else:
        app = ResponseCache(SessionMiddleware(shop, SECRET), store)
    async with serving(app) as ada, serving(app) as eve:
        await ada.get("/login?user=ada")
        await eve.get("/login?user=eve")
        one, other = await asyncio.gather(ada.get("/"), eve.get("/"))
        assert (one.text, other.text) == ("hello ada", "hello eve")
        for http, text in ((ada, "hello ada"), (eve, "hello eve")):
            response = await http.get("/")
            assert response.text == text
            assert response.headers["cache-status"] == MISS
        if is_outside:
            assert response.headers["vary"] == "Cookie"
    assert await store.keys("responses") == []


@pytest.mark.parametrize(
    "read",
    [
        lambda session: session["user"],
        lambda session: session.get("user"),
        lambda session: "user" in session,
        bool,
        len,
        dict,
        list,
        lambda session: list(session.keys()),
        lambda session: list(session.values()),
        lambda session: list(session.items()),
        lambda session: session.copy(),
        lambda session: {**session},
    ],
)
async def test_a_session_that_middleware_reads_from_the_scope_counts(
    store: Store, read: Callable[[Any], object]
) -> None:
    async def shop(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/login":
            Request(scope).session["user"] = "ada"
            await PlainTextResponse("ok")(scope, receive, send)
        else:
            text = str(read(scope["session"]))
            await PlainTextResponse(text, headers=FRESH)(scope, receive, send)

    app = ServerSessions(ResponseCache(shop, store), MemoryStore(), SECRET, https_only=False)
    async with serving(app) as http:
        await http.get("/login")
        for _ in range(2):
            response = await http.get("/")
            assert response.headers["cache-status"] == MISS
            assert response.headers["vary"] == "Cookie"


async def test_a_response_that_is_shorter_than_it_says_is_not_kept(store: Store) -> None:
    """What passes on a response that broke off may end as if it were complete."""

    async def page(_: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            yield b"part"

        return StreamingResponse(body(), headers={**FRESH, "content-length": "9"})

    async with serving(ResponseCache(Starlette(routes=[Route("/", page)]), store)) as http:
        response = await http.get("/")
    assert (response.headers["content-length"], response.headers["cache-status"]) == ("9", MISS)
    assert await store.keys("responses") == []


async def test_a_response_without_headers_is_sent_on(store: Store) -> None:
    async def bare(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"bare"})

    async with serving(ResponseCache(bare, store)) as http:
        assert (await http.get("/")).text == "bare"


# -- requests with a body ------------------------------------------------------------------


async def chunks() -> AsyncIterator[bytes]:
    yield b"evil"


def echo(store: Store) -> ResponseCache:
    async def respond(request: Request) -> Response:
        return PlainTextResponse(b"got " + await request.body(), headers=FRESH)

    return ResponseCache(Starlette(routes=[Route("/", respond)]), store)


@pytest.mark.parametrize("is_chunked", [True, False])
async def test_a_request_with_a_body_goes_past_the_cache(store: Store, is_chunked: bool) -> None:
    async with serving(echo(store)) as http:
        for _ in range(2):
            body: Any = chunks() if is_chunked else b"evil"
            response = await http.request("GET", "/", content=body)
            assert response.text == "got evil"
            assert "cache-status" not in response.headers
            assert (await http.get("/", headers={"content-length": "0"})).text == "got "
        assert (await http.get("/")).headers["cache-status"] == "kvwrap; hit"


async def test_a_body_that_no_header_tells_of_is_noticed_when_it_is_read(store: Store) -> None:
    """As with HTTP/2."""

    async def receive() -> Any:
        return {"type": "http.request", "body": b"evil", "more_body": False}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    cached = echo(store)
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [(b"host", b"shop.test")],
        "query_string": b"",
    }
    await cached(scope, receive, send)
    assert sent[1]["body"] == b"got evil"
    async with serving(cached) as http:
        assert (await http.get("/")).text == "got "


# -- stated freshness ----------------------------------------------------------------------


@pytest.mark.parametrize("ttl", [None, 1000])
@pytest.mark.parametrize(
    ("headers", "lasts"),
    [
        ({"expires": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0),
        ({"expires": "0"}, 0),
        ({"expires": "-1"}, 0),
        ({"expires": ""}, 0),
        ({"expires": "Thu, 01 Jan 99999 00:00:00 GMT"}, 0),
        ({"expires": 0}, 0),
        ({"expires": 30}, 30),
        ({"expires": 30, "age": "10"}, 20),
        ({"expires": 30, "age": "30"}, 0),
        ({"expires": 30, "date": 10}, 20),
        ({"expires": 30, "date": "yesterday"}, 30),
        ({"expires": 30, "cache-control": "max-age=50"}, 50),
        ({"expires": "0", "cache-control": "max-age=50"}, 50),
        ({"expires": 30, "cache-control": "max-age=0"}, 0),
        ({"expires": 30, "cache-control": "private"}, 0),
    ],
)
async def test_expires_states_freshness(
    app: App,
    store: Store,
    clock: ManualClock,
    headers: dict[str, str | int],
    lasts: int,
    ttl: float | None,
) -> None:
    clock.advance(1 - clock.time() % 1)  # dates are of whole seconds
    app.headers = {
        name: value if isinstance(value, str) else formatdate(clock.time() + value, usegmt=True)
        for name, value in headers.items()
    }
    async with app.client(store, ttl=ttl) as http:
        response = await http.get("/a")
        assert response.headers["cache-status"] == (f"{MISS}; stored" if lasts else MISS)
        if lasts:
            clock.advance(lasts - 1)
            assert (await http.get("/a")).text == "call 1"
            clock.advance(1)
        assert (await http.get("/a")).text == "call 2"
