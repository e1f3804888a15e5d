"""Log in at two replicas, restart them, and rotate their keys.

    python -m examples.fastmcp_replicas redis://localhost:6379/0

Two server processes share their logins in Redis, encrypted. A client begins a login at one,
continues it at the other, and uses its token at both, also after both were restarted and while
the keys rotate. This program is the client, the browser and the identity provider.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
import secrets
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import uvicorn
from fastmcp import Client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from kvwrap import Keyring, RedisStore, rewrite
from kvwrap.integrations.fastmcp import storage

CALLBACK = "http://localhost:9/callback"
"""Where the client would listen for its authorization code."""


async def exchange(request: Request) -> JSONResponse:
    """Answer as the identity provider, to which a replica sends the code of its login."""
    return JSONResponse(
        {"access_token": "upstream-ada", "token_type": "Bearer", "expires_in": 3600}
    )


@contextlib.asynccontextmanager
async def identity_provider() -> AsyncIterator[str]:
    """Run an identity provider. Yields its URL."""
    app = Starlette(routes=[Route("/token", exchange, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def replicas(*arguments: str) -> AsyncIterator[tuple[str, str]]:
    """Run two replicas. Yields their URLs."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "examples.fastmcp_replicas.server",
            *arguments,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(2)
    ]
    try:
        ports = []
        for process in processes:
            assert process.stdout is not None
            ports.append(int(await process.stdout.readline()))
        yield f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
    finally:
        for process in processes:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def log_in(first: str, second: str) -> str:
    """Log in as a client and its browser do, with steps at both replicas. Returns the token."""
    verifier = secrets.token_urlsafe(32)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
    # A browser keeps the cookies of the public URL, whichever replica answers.
    cookies: dict[str, str] = {}
    async with httpx.AsyncClient(timeout=60) as http:
        registered = await http.post(
            f"{first}/register",
            json={"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"},
        )
        client = registered.json()["client_id"]
        asked = await http.get(
            f"{second}/authorize",
            params={
                "response_type": "code",
                "client_id": client,
                "redirect_uri": CALLBACK,
                "code_challenge": challenge.decode(),
                "code_challenge_method": "S256",
                "state": "of the client",
            },
        )
        consent = urlsplit(asked.headers["location"])
        page = await http.get(f"{first}{consent.path}?{consent.query}")
        cookies |= dict(page.cookies)
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.text))
        agreed = await http.post(
            f"{second}{consent.path}",
            data={**fields, "action": "approve"},
            headers={"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())},
        )
        cookies |= dict(agreed.cookies)
        # The provider knows the user, and redirects the browser to the public URL.
        state = parse_qs(urlsplit(agreed.headers["location"]).query)["state"][0]
        returned = await http.get(
            f"{first}/auth/callback",
            params={"code": "of the provider", "state": state},
            headers={"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())},
        )
        code = parse_qs(urlsplit(returned.headers["location"]).query)["code"][0]
        tokens = await http.post(
            f"{second}/token",
            data={
                "grant_type": "authorization_code",
                "client_id": client,
                "code": code,
                "redirect_uri": CALLBACK,
                "code_verifier": verifier,
            },
        )
    return str(tokens.json()["access_token"])


async def call(replica: str, token: str, tool: str, **arguments: object) -> Any:
    """Call a tool at a replica."""
    async with Client(f"{replica}/mcp", auth=token) as client:
        return (await client.call_tool(tool, arguments)).data


async def show_logins(urls: tuple[str, str], token: str) -> None:
    """Ask both replicas, with the token, who is logged in."""
    for url in urls:
        known = await call(url, token, "whoami")
        print(f"{known['user']} is logged in; keys: {known['keys']}, primary: {known['primary']}")


async def main(redis: str) -> None:
    """Run everything that the module's docstring tells."""
    async with RedisStore(redis) as store:
        await store.check()  # a server that is away is told here, and not by the replicas
    with tempfile.TemporaryDirectory() as folder:
        key_file = Path(folder) / "keys.txt"

        def set_keys(keyring: Keyring) -> None:
            changed = key_file.with_suffix(".new")
            changed.touch(mode=0o600)
            changed.write_text(keyring.reveal_text())
            changed.replace(key_file)

        keyring = Keyring.generate("2025")
        set_keys(keyring)
        async with identity_provider() as provider:
            arguments = (redis, str(key_file), provider)
            async with replicas(*arguments) as urls:
                token = await log_in(*urls)
                await show_logins(urls, token)
                answers = [await call(url, token, "forecast", city="Oslo") for url in urls]
                print("one forecast for both replicas:", answers[0] == answers[1])

            async with replicas(*arguments) as urls:
                print("both replicas were restarted")
                await show_logins(urls, token)

                keyring = keyring.with_key("2026")
                set_keys(keyring)
                await show_logins(urls, token)
                keyring = keyring.promoted("2026")
                set_keys(keyring)
                await show_logins(urls, token)
                async with storage(redis, keyring, name="weather") as login:
                    report = await rewrite(login)
                print(f"{report.rewritten} entries rewritten; no longer needed: {report.retirable}")
                keyring = keyring.retired("2025")
                set_keys(keyring)
                await show_logins(urls, token)

        for name in ("weather", "weather-cache"):
            async with storage(redis, keyring, name=name) as used:
                await used.destroy()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if sys.argv[1:] else "redis://localhost:6379/0"))
