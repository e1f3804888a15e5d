"""One replica: python -m examples.fastmcp_replicas.server REDIS-URL KEY-FILE IDENTITY-PROVIDER

It prints the port on which it listens.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastmcp import FastMCP
from fastmcp.server.auth import OAuthProxy
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier
from fastmcp.server.dependencies import get_access_token
from fastmcp.server.event_store import EventStore
from fastmcp.server.middleware.caching import ResponseCachingMiddleware

from kvwrap import Encryption, Keyring
from kvwrap.integrations.fastmcp import storage

PUBLIC = "https://mcp.example.org"
"""The URL that clients know, behind which a load balancer chooses a replica."""


def build(redis: str, key_file: str, provider: str) -> tuple[FastMCP, EventStore]:
    """Build the server, which is the same in every replica."""
    # A changed file is taken up within a minute, without a restart.
    keys = Keyring.from_callable(lambda: Keyring.from_file(key_file), refresh=60)
    login = storage(redis, keys, name="weather")
    cache = storage(redis, keys, name="weather-cache", required=False)

    @asynccontextmanager
    async def lifespan(server: FastMCP) -> AsyncIterator[None]:
        async with login, cache:
            yield

    server = FastMCP(
        "weather",
        lifespan=lifespan,
        auth=OAuthProxy(
            upstream_authorization_endpoint=f"{provider}/authorize",
            upstream_token_endpoint=f"{provider}/token",
            upstream_client_id="weather",
            upstream_client_secret="a secret of the example",
            # Stands in for a verifier of the identity provider's tokens.
            token_verifier=StaticTokenVerifier(
                {"upstream-ada": {"client_id": "weather", "scopes": [], "sub": "ada"}}
            ),
            base_url=PUBLIC,
            client_storage=login,
        ),
        middleware=[
            ResponseCachingMiddleware(
                cache_storage=cache, call_tool_settings={"included_tools": ["forecast"]}
            )
        ],
    )

    @server.tool
    def forecast(city: str) -> str:
        """Compute a forecast, which replicas cache for each other."""
        return f"sun in {city}, computed by process {os.getpid()}"

    @server.tool
    async def whoami() -> dict[str, object]:
        """Tell who is logged in, and which keys this replica has, after it reloaded them."""
        token = get_access_token()
        assert token is not None
        encryption = login.find(Encryption)
        await encryption.reload()
        return {
            "user": token.claims["sub"],
            "primary": encryption.primary,
            "keys": sorted(encryption.key_names.values()),
        }

    return server, EventStore(storage=cache)


async def main(redis: str, key_file: str, provider: str) -> None:
    """Serve on a free port of this machine until the process is ended."""
    server, events = build(redis, key_file, provider)
    app = server.http_app(stateless_http=True, event_store=events)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
        await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
