"""What ends cached responses before their time, and what of a request they are found by."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from kvwrap import Capability, Keyring, MemoryStore, Store, stack
from kvwrap.integrations.starlette import ResponseCache
from kvwrap.testing import ManualClock
from tests.integrations.starlette.shop import FRESH, App, serving


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def store(clock: ManualClock) -> Store:
    return MemoryStore(clock=clock)


@pytest.mark.parametrize(("status", "text"), [(200, "call 3"), (303, "call 3"), (500, "call 1")])
async def test_a_change_ends_what_is_kept(app: App, store: Store, status: int, text: str) -> None:
    async with app.client(store) as http:
        await http.get("/a")
        app.status = status
        await http.post("/a")
        app.status = 200
        assert (await http.get("/a")).text == text


@pytest.mark.parametrize("compares", [True, False])
@pytest.mark.parametrize("kept_before", [True, False])
async def test_what_was_begun_before_a_change_is_not_kept(
    app: App, store: Store, clock: ManualClock, compares: bool, kept_before: bool
) -> None:
    if not compares:
        store.capabilities -= {Capability.COMPARE_AND_PUT}  # type: ignore[misc]  # of this object
    async with app.client(store) as one, app.client(store) as other:
        if kept_before:
            await one.get("/a")
            clock.advance(61)
        app.waits.clear()
        calls = app.calls
        old = asyncio.ensure_future(one.get("/a"))
        while app.calls == calls:
            await asyncio.sleep(0)
        await other.post("/a")
        app.waits.set()
        assert "stored" not in (await old).headers["cache-status"]
        assert (await other.get("/a")).text == f"call {calls + 3}"
        assert (await one.get("/a")).text == f"call {calls + 3}"


async def test_a_change_ends_all_variants(app: App, store: Store) -> None:
    app.headers = {**FRESH, "vary": "accept-language"}
    async with app.client(store) as http:
        for language in ("de", "en"):
            await http.get("/a", headers={"accept-language": language})
        await http.post("/a")
        texts = [
            (await http.get("/a", headers={"accept-language": language})).text
            for language in ("de", "en", "de", "en")
        ]
        assert texts == ["call 4", "call 5", "call 4", "call 5"]


async def test_a_record_that_cannot_be_read_is_replaced(app: App) -> None:
    backend = MemoryStore()
    for _ in range(2):
        async with app.client(stack().encrypt(Keyring.generate()).over(backend)) as http:
            calls = app.calls
            for _ in range(2):
                assert (await http.get("/a")).text == f"call {calls + 1}"


async def test_what_was_begun_before_a_change_is_not_kept_after_others_of_its_url_have_expired(
    app: App, store: Store, clock: ManualClock
) -> None:
    async with app.client(store) as one, app.client(store) as other:
        app.waits.clear()
        old = asyncio.ensure_future(one.get("/a"))
        while not app.calls:
            await asyncio.sleep(0)
        await other.post("/a")
        app.waits.set()
        assert "stored" in (await other.get("/a")).headers["cache-status"]
        # The first is in the application still, for longer than the others' responses last.
        clock.advance(61)
        assert "stored" not in (await old).headers["cache-status"]


@pytest.mark.parametrize(
    ("kept", "changed"),
    [
        ("/tea", "/%74ea"),
        ("/%74e%61", "/tea"),
        ("/t%C3%A9", "/t%c3%a9"),
        ("/tea?x=1&y=a+b", "/tea?x=%31&y=a%20b"),
        ("/tea", "http://SHOP.test/tea"),
    ],
)
async def test_a_change_ends_all_spellings_of_its_url(
    app: App, store: Store, kept: str, changed: str
) -> None:
    async with app.client(store) as http:
        await http.get(kept)
        assert (await http.get(kept)).text == "call 1"
        await http.post(changed)
        assert (await http.get(kept)).text == "call 3"


async def test_a_change_ends_its_url_with_and_without_the_default_port(
    app: App, store: Store
) -> None:
    async with app.client(store) as http:
        for host, changed in (("shop.test", "shop.test:80"), ("shop.test:80", "SHOP.test")):
            await http.get("/a", headers={"host": host})
            await http.post("/a", headers={"host": changed})
            assert "stored" in (await http.get("/a", headers={"host": host})).headers[
                "cache-status"
            ]  # fmt: skip
        app.calls = 0
        await http.get("/b", headers={"host": "shop.test"})
        await http.post("/b", headers={"host": "shop.test:8080"})
        assert (await http.get("/b", headers={"host": "shop.test"})).text == "call 1"


async def test_spellings_that_an_application_may_tell_apart_are_kept_apart(store: Store) -> None:
    async def show(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse(scope["raw_path"], headers=FRESH)(scope, receive, send)

    async with serving(ResponseCache(show, store)) as http:
        for _ in range(2):
            for path in ("/a/b", "/a%2Fb"):
                assert (await http.get(path)).text == path


async def test_headers_that_the_application_takes_out_of_a_request_count(store: Store) -> None:
    """Middleware may turn a header into something else; the response depends on it anyway."""

    async def show(request: Request) -> Response:
        return PlainTextResponse(request.state.tenant, headers={**FRESH, "vary": "x-tenant"})

    inner = Starlette(routes=[Route("/", show)])

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        scope["state"] = {"tenant": headers.pop(b"x-tenant", b"nobody").decode()}
        scope["headers"] = list(headers.items())
        await inner(scope, receive, send)

    async with serving(ResponseCache(middleware, store)) as http:
        for _ in range(2):
            assert (await http.get("/", headers={"x-tenant": "ada"})).text == "ada"
            assert (await http.get("/")).text == "nobody"
        again = await http.get("/", headers={"x-tenant": "ada"})
        assert again.headers["cache-status"] == "kvwrap; hit"
