"""Sessions: their cookies, what ends them, requests at the same time, and a store that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from kvwrap import Chaos, ConfigurationError, Keyring, MemoryStore, Store, stack
from kvwrap.integrations.starlette import ServerSessions
from kvwrap.testing import ManualClock

SECRET = "a secret of the tests"
DAYS_14 = 14 * 86_400


async def change(request: Request) -> Response:
    """Set what the query names, delete what it names without a value, and show the session."""
    for key, value in request.query_params.items():
        if value:
            request.session[key] = value
        else:
            request.session.pop(key, None)
    return PlainTextResponse(repr(dict(sorted(request.session.items()))))


async def end(request: Request) -> Response:
    request.session.clear()
    return PlainTextResponse("ended")


async def renew(request: Request) -> Response:
    request.session.renew()
    return PlainTextResponse("renewed")


async def append(request: Request) -> Response:
    cart = request.session.setdefault("cart", [])
    cart.append(len(cart))
    request.session["cart"] = cart
    return PlainTextResponse(repr(cart))


async def ignore(request: Request) -> Response:
    return PlainTextResponse("no session")


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_json(dict(websocket.session))
    await websocket.close()


ROUTES = [Route("/", change), Route("/end", end), Route("/renew", renew), Route("/cart", append),
          Route("/ignore", ignore), WebSocketRoute("/ws", echo)]  # fmt: skip


def browser(store: Store, secret: Any = SECRET, **options: Any) -> httpx.AsyncClient:
    app = ServerSessions(Starlette(routes=ROUTES), store, secret, **options)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://shop.test")


def adopt(http: httpx.AsyncClient, cookies: dict[str, str]) -> None:
    """Give a browser these cookies in place of its own."""
    for name, value in cookies.items():
        http.cookies.set(name, value, domain="shop.test")


@pytest.fixture
def store(clock: ManualClock) -> Store:
    return MemoryStore(clock=clock)


async def count(store: Store) -> int:
    return len(await store.keys("sessions"))


async def test_a_session_is_kept_between_requests(store: Store) -> None:
    async with browser(store) as http:
        assert (await http.get("/")).text == "{}"
        assert (await http.get("/?theme=dark")).text == "{'theme': 'dark'}"
        assert (await http.get("/?size=9")).text == "{'size': '9', 'theme': 'dark'}"
        assert (await http.get("/?theme=")).text == "{'size': '9'}"
        assert (await http.get("/")).text == "{'size': '9'}"
    assert await count(store) == 1


async def test_the_cookie(store: Store) -> None:
    async with browser(store) as http:
        response = await http.get("/?name=Ada")
    header = response.headers["set-cookie"]
    value, *flags = header.split("; ")
    assert flags == [f"Max-Age={DAYS_14}", "Path=/", "HttpOnly", "SameSite=Lax", "Secure"]
    assert response.headers["vary"] == "Cookie"
    assert "Ada" not in header
    (key,) = await store.keys("sessions")
    assert key not in header
    assert value.partition("=")[2].partition(".")[0] not in key


async def test_options_of_the_cookie(store: Store) -> None:
    options = {"cookie": "sid", "path": "/app", "domain": "shop.test", "https_only": False}
    async with browser(store, same_site="strict", max_age=60, **options) as http:
        value, *flags = (await http.get("/?a=1")).headers["set-cookie"].split("; ")
    assert value.startswith("sid=")
    assert flags == ["Max-Age=60", "Path=/app", "HttpOnly", "SameSite=Strict", "Domain=shop.test"]


async def test_who_has_no_session_gets_no_cookie(store: Store) -> None:
    async with browser(store) as http:
        for path in ("/", "/ignore", "/end"):
            assert "set-cookie" not in (await http.get(path)).headers
        assert "vary" not in (await http.get("/ignore")).headers
    assert await count(store) == 0


async def test_a_session_that_is_cleared_ends(store: Store) -> None:
    async with browser(store) as http:
        await http.get("/?a=1")
        stolen = dict(http.cookies)
        assert "Max-Age=0" in (await http.get("/end")).headers["set-cookie"]
        assert not http.cookies
        adopt(http, stolen)
        assert (await http.get("/")).text == "{}"
    assert await count(store) == 0


@pytest.mark.parametrize("login", ["/?user=ada", "/?user_id=7", "/renew"])
async def test_a_login_renews_the_id(store: Store, login: str) -> None:
    async with browser(store) as http:
        await http.get("/?cart=tea")
        planted = dict(http.cookies)
        await http.get(login)
        assert dict(http.cookies) != planted
        assert "'cart': 'tea'" in (await http.get("/")).text
        http.cookies.clear()
        adopt(http, planted)
        assert (await http.get("/")).text == "{}"
    assert await count(store) == 1


async def test_further_changes_keep_the_id(store: Store) -> None:
    async with browser(store) as http:
        await http.get("/?user=ada")
        before = dict(http.cookies)
        await http.get("/?theme=dark&user=ada")
        assert dict(http.cookies) == before
        await http.get("/?user=")
        assert dict(http.cookies) != before


async def test_an_id_that_the_store_does_not_know_is_not_taken_up(store: Store) -> None:
    async with browser(MemoryStore()) as other:
        await other.get("/?a=1")
    async with browser(store) as http:
        adopt(http, dict(other.cookies))
        assert (await http.get("/")).text == "{}"
        await http.get("/?b=1")
        assert dict(http.cookies) != dict(other.cookies)


HOSTILE = [
    "",
    "x",
    ".",
    "a.b",
    "null",
    "x" * 100_000,
    "A" * 43 + ".AAAA",
    "\x00.\x00",
    "é.é",
    "a" * 199,
]


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
async def test_a_hostile_cookie_costs_no_call_of_the_store(value: str) -> None:
    store = stack().chaos().over(MemoryStore())
    store.find(Chaos).down = True
    async with browser(store) as http:
        response = await http.get("/", headers={"cookie": f"session={value}".encode("latin-1")})
    assert (response.status_code, response.text) == (200, "{}")


async def test_a_signature_by_another_secret_is_not_accepted_and_secrets_rotate(
    store: Store,
) -> None:
    old, new = "the old secret of it", "the new secret of it"
    async with browser(store, old) as http:
        await http.get("/?a=1")
    cookies = dict(http.cookies)
    for secret, text in ((new, "{}"), ([new, old], "{'a': '1'}"), ([old, new], "{'a': '1'}")):
        async with browser(store, secret) as other:
            adopt(other, cookies)
            assert (await other.get("/")).text == text


async def test_a_session_ends_after_its_time_and_is_prolonged_by_use(
    store: Store, clock: ManualClock
) -> None:
    async with browser(store, max_age=100) as http:
        await http.get("/?a=1")
        clock.advance(40)
        assert "set-cookie" not in (await http.get("/")).headers
        clock.advance(40)
        assert "Max-Age=100" in (await http.get("/")).headers["set-cookie"]
        clock.advance(90)
        assert (await http.get("/")).text == "{'a': '1'}"
        clock.advance(101)
        assert (await http.get("/")).text == "{}"


async def test_a_value_that_was_changed_in_place_and_assigned_again(store: Store) -> None:
    async with browser(store) as http:
        for expected in ("[0]", "[0, 1]", "[0, 1, 2]"):
            assert (await http.get("/cart")).text == expected


# -- requests at the same time -------------------------------------------------------------


def held(
    store: Store, gate: asyncio.Event, inside: list[None], *routes: Route
) -> Callable[..., Any]:
    """Return a browser whose requests of `/held` change the session, then wait for the gate."""

    async def wait(request: Request) -> Response:
        request.session.update(request.query_params)
        inside.append(None)
        await gate.wait()
        return PlainTextResponse("")

    app = ServerSessions(Starlette(routes=[*ROUTES, *routes, Route("/held", wait)]), store, SECRET)
    transport = httpx.ASGITransport(app)
    return lambda: httpx.AsyncClient(transport=transport, base_url="https://shop.test")


@pytest.mark.parametrize(
    ("meanwhile", "after"),
    [
        ("/?b=2", "{'a': '1', 'b': '2', 'c': '3', 'z': '0'}"),
        ("/?a=", "{'c': '3', 'z': '0'}"),
        ("/end", "{}"),
        ("/?user=ada", "{'a': '1', 'user': 'ada', 'z': '0'}"),
    ],
)
async def test_what_other_requests_do_meanwhile_stays(
    store: Store, meanwhile: str, after: str
) -> None:
    gate, inside = asyncio.Event(), list[None]()
    make = held(store, gate, inside)
    async with make() as http, make() as slow:
        await http.get("/?a=1&z=0")
        adopt(slow, dict(http.cookies))
        waiting = asyncio.ensure_future(slow.get("/held?c=3"))
        while not inside:
            await asyncio.sleep(0)
        await http.get(meanwhile)
        gate.set()
        assert (await waiting).status_code == 200
        assert (await http.get("/")).text == after
    assert await count(store) == (after != "{}")


async def test_many_requests_lose_nothing(store: Store) -> None:
    async with browser(store) as http:
        await http.get("/?a=1")
        await asyncio.gather(*(http.get(f"/?k{number}=1") for number in range(20)))
        assert len((await http.get("/")).text.split(",")) == 21


# -- failure -------------------------------------------------------------------------------


async def test_a_store_that_is_down(caplog: pytest.LogCaptureFixture) -> None:
    store = stack().chaos().over(MemoryStore())
    async with browser(store) as http:
        await http.get("/?a=1")
        cookies = dict(http.cookies)
        store.find(Chaos).down = True
        for path in ("/", "/?b=2", "/end"):
            response = await http.get(path)
            assert (response.status_code, response.text) == (503, "Service Unavailable")
            assert response.headers["retry-after"] == "1"
            assert "set-cookie" not in response.headers
        http.cookies.clear()
        assert (await http.get("/")).status_code == 200
        assert (await http.get("/?b=secret")).status_code == 503
        store.find(Chaos).down = False
        adopt(http, cookies)
        assert (await http.get("/")).text == "{'a': '1'}"
    assert "a session cannot be read" in caplog.text
    assert "a session cannot be saved" in caplog.text
    assert "secret" not in caplog.text


async def test_a_session_of_a_lost_key_counts_as_none_and_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend, keys = MemoryStore(), Keyring.generate()
    async with browser(stack().encrypt(keys).over(backend)) as http:
        await http.get("/?a=1")
        cookies = dict(http.cookies)
        async with browser(stack().encrypt(Keyring.generate()).over(backend)) as wrong:
            adopt(wrong, cookies)
            assert (await wrong.get("/")).text == "{}"
        assert (await http.get("/")).text == "{'a': '1'}"
    assert "a session is unreadable" in caplog.text


async def test_an_entry_that_is_no_session_counts_as_none(store: Store) -> None:
    async with browser(store) as http:
        await http.get("/?a=1")
        (key,) = await store.keys("sessions")
        await store.put(key, ["hostile"], collection="sessions")
        assert (await http.get("/")).text == "{}"
        await http.get("/?b=2")
        assert (await http.get("/")).text == "{'b': '2'}"


async def test_a_cancelled_request(store: Store) -> None:
    slow = stack().chaos(delay=(60, 60)).over(store)
    async with browser(slow) as http:
        request = asyncio.ensure_future(http.get("/?a=1"))
        await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request


def test_websockets_see_the_session() -> None:
    app = ServerSessions(Starlette(routes=ROUTES), MemoryStore(), SECRET)
    with TestClient(app, "https://shop.test") as http:
        http.get("/?a=1")
        with http.websocket_connect("wss://shop.test/ws") as websocket:
            assert websocket.receive_json() == {"a": "1"}


@pytest.mark.parametrize(
    "options",
    [
        {"secret_key": "short"},
        {"secret_key": "\ud800" * 32},
        {"secret_key": []},
        {"secret_key": [SECRET, ""]},
        {"same_site": "Lax"},
        {"same_site": "none", "https_only": False},
        {"max_age": 0},
        {"login_keys": "user"},
        {"collection": "kvwrap.x"},
        {"store": {}},
    ],
)
def test_bad_arguments(options: dict[str, Any]) -> None:
    given = {"store": MemoryStore(), "secret_key": SECRET, **options}
    with pytest.raises(ConfigurationError) as caught:
        ServerSessions(Starlette(), **given)
    assert "short" not in str(caught.value)


async def test_a_late_answer_does_not_end_the_login_of_another_request(store: Store) -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> Response:
        request.session["seen"] = "yes"
        begun.set()
        await goes_on.wait()
        return PlainTextResponse("seen")

    app = ServerSessions(Starlette(routes=[*ROUTES, Route("/slow", slow)]), store, SECRET)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="https://shop.test"
    ) as http:
        await http.get("/?theme=dark")
        late = asyncio.ensure_future(http.get("/slow"))
        await begun.wait()
        await http.get("/?user=ada")
        goes_on.set()
        assert "set-cookie" not in (await late).headers
        assert (await http.get("/")).text == "{'theme': 'dark', 'user': 'ada'}"


@pytest.mark.parametrize("keys", ["flash=bye", "a=1", "a=1&z=0"])
async def test_what_is_set_after_a_clear_is_in_a_new_session(store: Store, keys: str) -> None:
    async def leave(request: Request) -> Response:
        request.session.clear()
        request.session.update(request.query_params)
        return PlainTextResponse("left")

    gate, inside = asyncio.Event(), list[None]()
    make = held(store, gate, inside, Route("/leave", leave))
    async with make() as http, make() as slow:
        await http.get("/?a=1&z=0")
        old = dict(http.cookies)
        adopt(slow, old)
        waiting = asyncio.ensure_future(slow.get("/held?role=admin"))
        while not inside:
            await asyncio.sleep(0)
        await http.get(f"/leave?{keys}")
        assert dict(http.cookies) != old
        gate.set()
        assert "set-cookie" not in (await waiting).headers
        assert (await slow.get("/")).text == "{}"
        text = repr(dict(each.split("=") for each in keys.split("&")))
        assert (await http.get("/")).text == text
    assert await count(store) == 1


async def test_a_clear_ends_what_another_request_added_meanwhile(store: Store) -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def leave(request: Request) -> Response:
        request.session.clear()
        request.session["flash"] = "bye"
        begun.set()
        await goes_on.wait()
        return PlainTextResponse("left")

    app = ServerSessions(Starlette(routes=[*ROUTES, Route("/leave", leave)]), store, SECRET)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="https://shop.test"
    ) as http:
        await http.get("/?a=1")
        leaving = asyncio.ensure_future(http.get("/leave"))
        await begun.wait()
        await http.get("/?role=admin")
        goes_on.set()
        await leaving
        assert (await http.get("/")).text == "{'flash': 'bye'}"
