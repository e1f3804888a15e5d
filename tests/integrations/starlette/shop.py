"""A shop whose responses are cached."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from kvwrap import Store
from kvwrap.integrations.starlette import ResponseCache

FRESH = {"cache-control": "max-age=60"}


class App:
    """An application that counts its calls, and responds as the test says."""

    def __init__(self) -> None:
        self.calls = 0
        self.headers: Mapping[str, str] = FRESH
        self.status = 200
        self.waits = asyncio.Event()
        self.waits.set()

    async def respond(self, request: Request) -> Response:
        self.calls += 1
        call = self.calls
        if request.method == "GET":
            await self.waits.wait()
        return PlainTextResponse(f"call {call}", self.status, dict(self.headers))

    def client(self, store: Store, **options: Any) -> httpx.AsyncClient:
        routes = [Route("/{path:path}", self.respond, methods=["GET", "POST", "OPTIONS"])]
        cached = ResponseCache(Starlette(routes=routes), store, **options)
        transport = httpx.ASGITransport(cached)
        return httpx.AsyncClient(transport=transport, base_url="http://shop.test")


def serving(app: Any) -> httpx.AsyncClient:
    """Return a browser of this application."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://shop.test")
