"""Two workers that share sessions and cached responses in Redis.

    python -m examples.starlette_shop redis://localhost:6379/0

It runs two workers, logs in at one, and goes on at the other. Responses that one computed come
from the cache at both. Requests at the same time to both workers lose no change of the session.
With uvicorn alone: `REDIS_URL=… KEYS=… uvicorn examples.starlette_shop:make --factory --workers 2`
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kvwrap import Keyring, RedisStore, stack
from kvwrap.integrations import prometheus
from kvwrap.integrations.starlette import ResponseCache, ServerSessions, healthz, lifespan, metrics

SECRET = "sign cookies with a secret of yours"


async def show_price(request: Request) -> Response:
    """Compute a price, which is the same for everybody for a minute."""
    price = {"product": request.path_params["product"], "computed by": os.getpid()}
    return JSONResponse(price, headers={"cache-control": "max-age=60"})


async def log_in(request: Request) -> Response:
    """Begin a session under a new id."""
    request.session["user"] = request.query_params["user"]
    return JSONResponse({"hello": request.session["user"]})


async def show_basket(request: Request) -> Response:
    """Add what the query names to the basket, and show it."""
    for product in request.query_params.getlist("add"):
        request.session[f"product {product}"] = 1
    return JSONResponse({"process": os.getpid(), **request.session})


def make() -> Starlette:
    """Build the application, which is the same in every worker."""
    keys = Keyring.from_env("KEYS")
    store = (
        stack()
        .statistics(name="shop")
        .encrypt(keys, context=b"shop")
        .prefix_collection("shop-")
        .circuit_breaker(open_for=5)
        .over(RedisStore(os.environ["REDIS_URL"]))
    )
    prometheus.register(store)
    return Starlette(
        routes=[
            Route("/price/{product}", show_price),
            Route("/login", log_in),
            Route("/basket", show_basket),
            Route("/healthz", healthz(store)),
            Route("/metrics", metrics()),
        ],
        middleware=[
            Middleware(ServerSessions, store=store, secret_key=SECRET),
            Middleware(ResponseCache, store=store),
        ],
        lifespan=lifespan(store=store),
    )


async def serve() -> None:
    """Run one worker on a free port of this machine, which it prints."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(make(), log_level="error", timeout_graceful_shutdown=1)
        await uvicorn.Server(config).serve(sockets=[listener])


async def visit(one: str, other: str) -> None:
    """Visit the shop as a browser does, by a load balancer that takes turns."""
    cookies: dict[str, str] = {}

    async def get(url: str) -> httpx.Response:
        cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
        response = await http.get(url, headers={"host": "shop.example.org", "cookie": cookie})
        response.raise_for_status()
        cookies.update(response.cookies)
        return response

    async with httpx.AsyncClient(timeout=60) as http:
        prices = [(await get(f"{url}/price/tea")) for url in (one, other, one)]
        print("one price for all:", len({price.text for price in prices}) == 1)
        print(prices[-1].headers["cache-status"], "of age", prices[-1].headers["age"])

        await get(f"{one}/basket?add=tea")
        before = dict(cookies)
        print((await get(f"{other}/login?user=ada")).json())
        print("the login renewed the id:", cookies != before)
        adding = [get(f"{(one, other)[n % 2]}/basket?add={n}") for n in range(20)]
        processes = {response.json()["process"] for response in await asyncio.gather(*adding)}
        basket = (await get(f"{one}/basket")).json()
        products = sum(name.startswith("product") for name in basket)
        print(f"{products} products, {len(processes)} workers, user {basket['user']}")

        print("health:", (await get(f"{other}/healthz")).json()["status"])
        counted = (await get(f"{one}/metrics")).text
        print("metrics:", 'kvwrap_operations_total{collection="sessions"' in counted)


async def main(url: str) -> None:
    """Run two workers and visit them."""
    async with RedisStore(url) as store:
        await store.check()  # a server that is away is told here, and not by the workers
    environment = {
        **os.environ,
        "REDIS_URL": url,
        "KEYS": Keyring.generate("2026").reveal_text(),
    }
    workers = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "examples.starlette_shop",
            "serve",
            env=environment,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(2)
    ]
    try:
        urls = []
        for worker in workers:
            assert worker.stdout is not None
            urls.append(f"http://127.0.0.1:{int(await worker.stdout.readline())}")
        await visit(urls[0], urls[1])
    finally:
        for worker in workers:
            if worker.returncode is None:
                worker.terminate()
            await worker.wait()
    async with stack().prefix_collection("shop-").over(RedisStore(url)) as used:
        await used.destroy()


if __name__ == "__main__":
    wanted = sys.argv[1] if sys.argv[1:] else "redis://localhost:6379/0"
    asyncio.run(serve() if wanted == "serve" else main(wanted))
