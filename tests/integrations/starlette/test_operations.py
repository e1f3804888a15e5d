"""Lifespan, health and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi import Request as FastAPIRequest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from kvwrap import (
    Chaos,
    ConfigurationError,
    Keyring,
    MemoryStore,
    RedisStore,
    Store,
    StoreUnavailable,
    stack,
)
from kvwrap.integrations import prometheus
from kvwrap.integrations.starlette import healthz, lifespan, metrics


def test_stores_open_and_close_with_the_application() -> None:
    cache, settings = MemoryStore(), MemoryStore()
    order = []

    @asynccontextmanager
    async def other(app: Any) -> AsyncIterator[dict[str, str]]:
        order.append(cache.is_open)
        yield {"more": "state"}
        order.append(settings.is_open)

    async def show(request: Request) -> Response:
        await request.state.cache.put("k", 1)
        return JSONResponse([await cache.get("k"), request.state.more])

    app = Starlette(
        routes=[Route("/", show)], lifespan=lifespan(other, cache=cache, settings=settings)
    )
    with TestClient(app) as http:
        assert cache.is_open
        assert http.get("/").json() == [1, "state"]
    assert cache.is_closed
    assert settings.is_closed
    assert order == [True, True]


def test_fastapi() -> None:
    store = MemoryStore()
    app = FastAPI(lifespan=lifespan(store=store))
    app.add_route("/healthz", healthz(store))

    @app.get("/")
    async def read(request: FastAPIRequest) -> Any:
        await request.state.store.put("k", {"n": 1})
        return await request.state.store.get("k")

    with TestClient(app) as http:
        assert http.get("/").json() == {"n": 1}
        assert http.get("/healthz").json() == {"status": "ok"}


def test_a_store_that_cannot_be_opened_fails_the_start() -> None:
    class Broken(MemoryStore):
        async def setup(self) -> None:
            raise ConnectionError("no")

    first = MemoryStore()
    with (
        pytest.raises(ConnectionError),
        TestClient(Starlette(lifespan=lifespan(first=first, broken=Broken()))),
    ):
        pass
    assert first.is_closed


def test_what_is_no_store_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="`cache`"):
        lifespan(cache={})  # type: ignore[arg-type]
    for stores in ((), ({},)):
        with pytest.raises(ConfigurationError, match="`stores`"):
            healthz(*stores)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="`timeout`"):
        healthz(MemoryStore(), timeout=0)


# -- health --------------------------------------------------------------------------------


def asking(*stores: Store, **options: Any) -> httpx.AsyncClient:
    app = Starlette(routes=[Route("/healthz", healthz(*stores, **options))])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop.test")


class Down(MemoryStore):
    """Does not respond."""

    async def ping(self) -> None:
        raise StoreUnavailable("it is down", store="Down")


async def test_a_stack_whose_keys_cannot_be_fetched() -> None:
    def fetch() -> Keyring:
        raise ConnectionError("no")

    store = stack().encrypt(Keyring.from_callable(fetch)).over(MemoryStore())
    async with asking(store, details=True) as http:
        response = await http.get("/healthz")
    assert response.json()["status"] == "unavailable"
    assert [each["error"] is None for each in response.json()["parts"]] == [True, False]


@pytest.mark.parametrize(
    ("inner", "spare", "status", "code"),
    [
        (False, False, "ok", 200),
        (True, False, "degraded", 200),
        (False, True, "degraded", 200),
        (True, True, "unavailable", 503),
    ],
)
async def test_health_of_a_stack_with_a_fallback(
    inner: bool, spare: bool, status: str, code: int
) -> None:
    backends = [Down() if is_down else MemoryStore() for is_down in (inner, spare)]
    store = stack().fallback(backends[1], writes="both").over(backends[0])
    async with asking(MemoryStore(), store) as http:
        response = await http.get("/healthz")
    assert (response.status_code, response.json()) == (code, {"status": status})
    assert response.headers["cache-control"] == "no-store"


async def test_details_show_parts_and_no_secret() -> None:
    store = RedisStore("redis://user:hunter2@127.0.0.1:1/0")
    async with asking(MemoryStore(), store, details=True) as http:
        response = await http.get("/healthz")
    assert response.status_code == 503
    good, bad = response.json()["parts"]
    assert (good["part"], good["error"]) == ("MemoryStore", None)
    assert "127.0.0.1:1" in bad["error"]
    assert "hunter2" not in response.text


async def test_a_backend_that_does_not_answer_in_time(caplog: pytest.LogCaptureFixture) -> None:
    store = stack().chaos(delay=(60, 60)).over(MemoryStore())
    async with asking(store, timeout=0.01, details=True) as http:
        response = await http.get("/healthz")
    assert response.json()["parts"][-1]["error"] == "no answer in 0.01 s"
    assert "does not respond" in caplog.text


async def test_many_requests_make_one_check() -> None:
    store = stack().chaos().over(MemoryStore())
    async with asking(store, fresh_for=3600) as http:
        first = asyncio.ensure_future(http.get("/healthz"))
        await asyncio.sleep(0)
        first.cancel()
        responses = await asyncio.gather(*(http.get("/healthz") for _ in range(20)))
        assert {response.status_code for response in responses} == {200}
        await http.get("/healthz")
    assert store.find(Chaos).calls == 1


# -- metrics -------------------------------------------------------------------------------


async def test_metrics() -> None:
    registry = CollectorRegistry()
    store = stack().statistics(name="sessions").over(MemoryStore())
    prometheus.register(store, registry=registry)
    await store.get("k")
    app = Starlette(routes=[Route("/metrics", metrics(registry))])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as http:
        response = await http.get("/metrics")
    labels = 'collection="",layer="Statistics",operation="read",stack="sessions"'
    assert f"kvwrap_operations_total{{{labels}}} 1.0" in response.text
    assert response.headers["content-type"].startswith("text/plain")
