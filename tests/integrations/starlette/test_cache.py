"""Cached responses: what is kept and what is not, single flight, and a store that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from kvwrap import Chaos, ConfigurationError, Keyring, MemoryStore, Store, stack
from kvwrap.integrations.starlette import ResponseCache, ServerSessions
from kvwrap.testing import ManualClock
from tests.integrations.starlette.shop import FRESH, App, serving


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def store(clock: ManualClock) -> Store:
    return MemoryStore(clock=clock)


async def test_a_fresh_response_is_sent_again_until_its_end(
    app: App, store: Store, clock: ManualClock
) -> None:
    async with app.client(store) as http:
        first = await http.get("/a")
        assert first.headers["cache-status"] == "kvwrap; fwd=miss; stored"
        clock.advance(59)
        again = await http.get("/a")
        assert (again.text, again.headers["age"]) == ("call 1", "59")
        assert again.headers["cache-status"] == "kvwrap; hit"
        assert again.headers["cache-control"] == "max-age=60"
        clock.advance(1)
        assert (await http.get("/a")).text == "call 2"


async def test_replicas_share_responses(app: App, store: Store) -> None:
    async with app.client(store) as one, app.client(store) as other:
        await one.get("/a")
        assert (await other.get("/a")).text == "call 1"


KEPT = [
    (200, {"cache-control": "max-age=1"}),
    (200, {"cache-control": "s-maxage=60, max-age=0"}),
    (200, {"cache-control": 'public, MAX-AGE="60"'}),
    (404, FRESH),
    (301, FRESH),
    (200, {**FRESH, "vary": "Accept-Language, accept"}),
    (200, {**FRESH, "age": "59"}),
]
NOT_KEPT = [
    (200, {}),
    (200, {"cache-control": "max-age=0"}),
    (200, {"cache-control": "max-age=60, s-maxage=0"}),
    (200, {"cache-control": "max-age=-1"}),
    (200, {"cache-control": "max-age=\N{FULLWIDTH DIGIT ONE}"}),
    (200, {"cache-control": "max-age=60, private"}),
    (200, {"cache-control": "max-age=60, no-store"}),
    (200, {"cache-control": 'max-age=60, no-cache="x"'}),
    (200, {**FRESH, "set-cookie": "a=b"}),
    (200, {**FRESH, "vary": "*"}),
    (200, {**FRESH, "vary": "Accept, Cookie"}),
    (200, {**FRESH, "age": "60"}),
    (500, FRESH),
    (302, FRESH),
    (206, FRESH),
]


@pytest.mark.parametrize(
    ("status", "headers", "calls"),
    [(*each, 1) for each in KEPT] + [(*each, 2) for each in NOT_KEPT],
)
async def test_which_responses_are_kept(
    app: App, store: Store, status: int, headers: dict[str, str], calls: int
) -> None:
    app.status = status
    app.headers = {name: value.encode().decode("latin-1") for name, value in headers.items()}
    async with app.client(store) as http:
        for _ in range(2):
            assert (await http.get("/a")).status_code == status
    assert app.calls == calls


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", {}),
        ("GET", {"authorization": "Bearer x"}),
        ("GET", {"range": "bytes=0-1"}),
        ("GET", {"cache-control": "no-store"}),
    ],
)
async def test_which_requests_go_past_the_cache(
    app: App, store: Store, method: str, headers: dict[str, str]
) -> None:
    async with app.client(store) as http:
        await http.get("/a")
        for number in (2, 3):
            response = await http.request(method, "/a", headers=headers)
            assert response.text == f"call {number}"
        assert (await http.get("/a")).text == "call 1"


async def test_a_request_is_found_by_what_it_asks_for(app: App, store: Store) -> None:
    async with app.client(store) as http:
        urls = [
            "/a",
            "/a?b=1",
            "/a?b=2",
            "/a/",
            "/a%2F",
            "http://other.test/a",
            "https://shop.test/a",
        ]
        texts = [(await http.get(url)).text for url in urls]
        assert texts == [f"call {number}" for number in range(1, len(urls) + 1)]
        assert [(await http.get(url)).text for url in urls] == texts


async def test_vary_tells_which_headers_matter(app: App, store: Store) -> None:
    app.headers = {**FRESH, "vary": "Accept-Language"}
    async with app.client(store) as http:
        for _ in range(2):
            for number, language in enumerate(("nl", "fy"), 1):
                got = await http.get("/", headers={"accept-language": language, "x": str(number)})
                assert got.text == f"call {number}"


async def test_options_keep_more(app: App, store: Store) -> None:
    app.headers = {"set-cookie": "a=b"}
    async with app.client(store, cookies=True, ttl=10) as http:
        for _ in range(2):
            assert (await http.get("/cookie")).headers["set-cookie"] == "a=b"
    assert app.calls == 1
    async with app.client(store, authorized=True, ttl=10) as http:
        for path, headers, calls in (("/p", {"cache-control": "public"}, 2), ("/n", FRESH, 4)):
            app.headers = headers
            for token in "ab":
                await http.get(path, headers={"authorization": token})
            assert app.calls == calls


async def test_an_etag_answers_without_a_body(app: App, store: Store) -> None:
    async with app.client(store, etag=True) as http:
        first = await http.get("/a")
        again = await http.get(
            "/a", headers={"if-none-match": f'"other", W/{first.headers["etag"]}'}
        )
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert (await http.get("/a", headers={"if-none-match": '"other"'})).text == "call 1"
    app.calls = 0
    async with app.client(MemoryStore(), etag=True) as http:
        fresh = await http.get("/a", headers={"if-none-match": first.headers["etag"]})
        assert (fresh.status_code, fresh.content) == (304, b"")


async def test_requests_at_the_same_time_wait_for_one(app: App, store: Store) -> None:
    app.waits.clear()
    async with app.client(store) as http:
        requests = [asyncio.ensure_future(http.get("/a")) for _ in range(10)]
        while not app.calls:
            await asyncio.sleep(0)
        app.waits.set()
        assert {response.text for response in await asyncio.gather(*requests)} == {"call 1"}


async def test_a_request_that_is_cancelled_leaves_the_others_to_the_application(
    app: App, store: Store
) -> None:
    app.waits.clear()
    async with app.client(store) as http:
        first = asyncio.ensure_future(http.get("/a"))
        while not app.calls:
            await asyncio.sleep(0)
        second = asyncio.ensure_future(http.get("/a"))
        for _ in range(20):
            await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        app.waits.set()
        assert (await second).text == "call 2"


async def test_requests_do_not_wait_for_what_could_not_be_kept(app: App, store: Store) -> None:
    app.headers = {}
    async with app.client(store) as http:
        await http.get("/a")
        app.waits.clear()
        requests = [asyncio.ensure_future(http.get("/a")) for _ in range(3)]
        while app.calls < 4:  # all of them are in the application
            await asyncio.sleep(0)
        app.waits.set()
        await asyncio.gather(*requests)


def streaming(chunks: list[bytes], error: Exception | None = None) -> Starlette:
    async def body() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk
        if error is not None:
            raise error

    async def respond(request: Request) -> Response:
        return StreamingResponse(body(), headers=FRESH)

    return Starlette(routes=[Route("/", respond)])


@pytest.mark.parametrize(("size", "is_kept"), [(9, True), (10, True), (11, False)])
async def test_a_large_body_is_sent_and_not_kept(store: Store, size: int, is_kept: bool) -> None:
    chunks = [b"x"] * size
    async with serving(ResponseCache(streaming(chunks), store, max_size=10)) as http:
        for _ in range(2):
            response = await http.get("/")
            assert response.content == b"x" * size
        assert (response.headers["cache-status"] == "kvwrap; hit") is is_kept


async def test_a_response_that_breaks_off_is_not_kept(store: Store) -> None:
    broken = ResponseCache(streaming([b"part"], ValueError("no")), store)
    async with serving(broken) as http:
        assert (await http.get("/")).status_code == 500
    assert await store.keys("responses") == []


async def test_without_its_store_the_application_responds(app: App) -> None:
    store = stack().chaos().over(MemoryStore())
    async with app.client(store) as http:
        await http.get("/a")
        store.find(Chaos).down = True
        assert (await http.get("/a")).text == "call 2"
        store.find(Chaos).down = False
        assert (await http.get("/a")).text == "call 1"


async def test_entries_that_are_no_responses_are_misses(app: App, store: Store) -> None:
    async with app.client(store) as http:
        await http.get("/a")
        for key in await store.keys("responses"):
            await store.put(key, [1, "hostile"], collection="responses")
        assert (await http.get("/a")).text == "call 2"
        for key in await store.keys("responses", limit=None):
            await store.put(key, {"hostile": True}, collection="responses")
        assert (await http.get("/a")).text == "call 3"


async def test_responses_are_unreadable_at_rest(app: App) -> None:
    backend = MemoryStore()
    async with app.client(stack().encrypt(Keyring.generate()).over(backend)) as http:
        for _ in range(2):
            assert (await http.get("/secret-path")).text == "call 1"
    keys = await backend.keys("responses")
    bodies = [entry.body for entry in await backend.read("responses", keys) if entry]
    assert b"call 1" not in b"".join(bodies)
    assert "secret-path" not in "".join(keys)


@pytest.mark.parametrize(
    "options", [{"ttl": 0}, {"etag": "yes"}, {"max_size": 0}, {"collection": ""}, {"store": {}}]
)
def test_bad_arguments(app: App, options: dict[str, Any]) -> None:
    given = {"store": MemoryStore(), **options}
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        ResponseCache(Starlette(), **given)


# -- responses of one user -----------------------------------------------------------------


async def test_every_line_of_a_header_counts(store: Store) -> None:
    async def private(_: Request) -> Response:
        response = PlainTextResponse("Ada's", headers=FRESH)
        response.headers.append("cache-control", "private")
        return response

    app = ResponseCache(Starlette(routes=[Route("/", private)]), store)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://shop.test"
    ) as http:
        assert (await http.get("/")).headers["cache-status"] == "kvwrap; fwd=miss"
        assert "hit" not in (await http.get("/")).headers["cache-status"]


async def test_the_lines_of_a_request_count_too(app: App, store: Store) -> None:
    async with app.client(store) as http:
        lines = [("cache-control", "max-age=0"), ("cache-control", "no-store")]
        await http.get("/a", headers=lines)
        assert (await http.get("/a")).text == "call 2"


@pytest.mark.parametrize("path", ["/me", "/login"])
async def test_what_uses_the_session_is_not_kept(store: Store, path: str) -> None:
    async def me(request: Request) -> Response:
        return PlainTextResponse(request.session.get("user", "nobody"), headers=FRESH)

    async def login(request: Request) -> Response:
        request.session["user"] = request.query_params["user"]
        return PlainTextResponse("ok", headers=FRESH)

    async def page(_: Request) -> Response:
        return PlainTextResponse("for everybody", headers=FRESH)

    routes = [Route("/me", me), Route("/login", login), Route("/page", page)]
    cached = ResponseCache(Starlette(routes=routes), store, ttl=60)
    app = ServerSessions(cached, MemoryStore(), "a secret of the tests", https_only=False)

    def client() -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop.test")

    async with client() as ada, client() as eve:
        await ada.get("/login?user=ada")
        assert (await ada.get("/me")).text == "ada"
        assert (await eve.get("/me")).text == "nobody"
        if path == "/login":
            await eve.get("/login?user=ada")
            assert (await eve.get("/me")).text == "ada"
        await ada.get("/page")
        assert (await eve.get("/page")).headers["cache-status"] == "kvwrap; hit"


async def test_what_was_kept_for_everybody_is_not_served_to_a_login(app: App, store: Store) -> None:
    async with app.client(store, authorized=True) as http:
        await http.get("/a")
        login = {"authorization": "Bearer ada"}
        assert (await http.get("/a", headers=login)).text == "call 2"
        app.headers = {"cache-control": "public, max-age=60"}
        await http.get("/b")
        assert (await http.get("/b", headers=login)).text == "call 3"


async def test_an_etag_is_for_successful_responses(app: App, store: Store) -> None:
    """A condition of a request does not count for an error, which has to be seen."""
    app.status = 404
    async with app.client(store, etag=True) as http:
        etag = (await http.get("/a")).headers["etag"]
        for path in ("/a", "/b"):
            again = await http.get(path, headers={"if-none-match": f"{etag}, *"})
            assert again.status_code == 404
            again = await http.get(path, headers={"if-none-match": "*"})
            assert (again.status_code, again.text) == (404, f"call {app.calls}")


async def test_a_body_of_another_kind_is_sent_on(store: Store) -> None:
    sent: list[str] = []

    async def file(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"cache-control", b"max-age=60")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.pathsend", "path": "/a"})

    async def send(message: Any) -> None:
        sent.append(message["type"])

    scope = {"type": "http", "method": "GET", "path": "/a", "headers": []}
    await ResponseCache(file, store)(scope, None, send)  # type: ignore[arg-type]
    assert sent == ["http.response.start", "http.response.pathsend"]
