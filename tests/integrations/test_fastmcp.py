"""Storage of FastMCP, with its own proxy, middleware, event store and session state."""

from __future__ import annotations

from typing import Any

import pytest
from fastmcp import Client, FastMCP
from fastmcp.server.auth import OAuthProxy, TokenVerificationError
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier
from fastmcp.server.event_store import EventStore
from fastmcp.server.middleware.caching import ResponseCachingMiddleware
from fastmcp.server.sessions import SessionId, SessionProvider, get_session
from mcp.server.streamable_http import EventMessage
from mcp.shared.auth import OAuthClientInformationFull
from mcp_types import JSONRPCRequest
from starlette.testclient import TestClient

from kvwrap import (
    Chaos,
    ConfigurationError,
    CorruptEntry,
    DecryptionError,
    Keyring,
    MemoryStore,
    Store,
    StoreUnavailable,
    rewrite,
    stack,
)
from kvwrap.integrations.fastmcp import StorageUnavailable, storage

KEYS = Keyring.generate("2025")


def proxy(storage: Store) -> OAuthProxy:
    """A proxy as each replica makes it, from the same arguments."""
    made = OAuthProxy(
        upstream_authorization_endpoint="https://idp.example.org/authorize",
        upstream_token_endpoint="https://idp.example.org/token",
        upstream_client_id="id",
        upstream_client_secret="the proxy's own secret",
        token_verifier=StaticTokenVerifier({}),
        base_url="https://mcp.example.org",
        client_storage=storage,
    )
    made.set_mcp_path("/mcp")
    return made


def client(name: str = "app") -> OAuthClientInformationFull:
    return OAuthClientInformationFull(
        client_id=f"client-{name}", redirect_uris=["http://localhost:9/callback"], client_name=name
    )


@pytest.fixture
def backend() -> MemoryStore:
    return MemoryStore()


async def contents(backend: MemoryStore) -> bytes:
    """Everything that the backend holds: names and bodies."""
    held = b""
    for collection in await backend.collections():
        keys = await backend.keys(collection)
        entries = await backend.read(collection, keys)
        held += b" ".join([(collection or "").encode(), *(key.encode() for key in keys)])
        held += b" ".join(entry.body for entry in entries if entry is not None)
    return held


# -- logins --------------------------------------------------------------------------------


async def test_a_client_that_registers_at_one_replica_is_known_to_the_other(
    backend: MemoryStore,
) -> None:
    await proxy(storage(backend, KEYS)).register_client(client())
    found = await proxy(storage(backend, KEYS)).get_client("client-app")
    assert found is not None
    assert found.client_name == "app"


async def test_neither_names_nor_values_are_readable_at_rest(backend: MemoryStore) -> None:
    await proxy(storage(backend, KEYS)).register_client(client("clandestine"))
    held = await contents(backend)
    assert b"fastmcp/mcp-oauth-proxy-clients" in held
    assert b"clandestine" not in held


async def test_keys_rotate_in_steps_with_every_client_known(backend: MemoryStore) -> None:
    await proxy(storage(backend, KEYS)).register_client(client("old"))
    added = KEYS.with_key("2026")
    promoted = added.promoted("2026")
    # While the change is rolled out, one replica has promoted the key and the other added it.
    await proxy(storage(backend, promoted)).register_client(client("new"))
    for keyring in (added, promoted):
        assert await proxy(storage(backend, keyring)).get_client("client-old") is not None
        assert await proxy(storage(backend, keyring)).get_client("client-new") is not None
    report = await rewrite(storage(backend, promoted))
    assert (report.rewritten, report.retirable) == (1, ["2025"])
    retired = promoted.retired("2025")
    assert await proxy(storage(backend, retired)).get_client("client-old") is not None


def token(login: Store) -> str:
    return proxy(login).jwt_issuer.issue_access_token("client-app", [], jti="some-jti")


async def test_an_outage_does_not_make_a_token_invalid(backend: MemoryStore) -> None:
    login = storage(stack().chaos().over(backend), KEYS)
    issued = token(login)
    assert await proxy(login).load_access_token(issued) is None  # no login has this token
    login.find(Chaos).down = True
    with pytest.raises(TokenVerificationError) as caught:
        await proxy(login).load_access_token(issued)
    assert isinstance(caught.value, StorageUnavailable)
    assert "some-jti" not in str(caught.value)


@pytest.mark.parametrize(("down", "status"), [(False, 401), (True, 500)])
def test_status_of_a_request_in_an_outage(backend: MemoryStore, down: bool, status: int) -> None:
    login = storage(stack().chaos().over(backend), KEYS)
    login.find(Chaos).down = down
    server = FastMCP("s", auth=proxy(login))
    app = server.http_app(stateless_http=True)
    with TestClient(app, "https://mcp.example.org", raise_server_exceptions=False) as http:
        answer = http.post("/mcp", headers={"authorization": f"Bearer {token(login)}"}, json={})
    assert answer.status_code == status
    assert "kvwrap" not in answer.text


async def test_a_replica_without_the_new_key_does_not_make_a_token_invalid(
    backend: MemoryStore,
) -> None:
    await proxy(storage(backend, KEYS)).register_client(client())
    with pytest.raises(StorageUnavailable, match="DecryptionError") as caught:
        await proxy(storage(backend, Keyring.generate("other"))).get_client("client-app")
    assert isinstance(caught.value.__cause__, DecryptionError)


async def test_a_corrupt_entry_is_an_error_of_the_storage(backend: MemoryStore) -> None:
    login = storage(backend, KEYS)
    await proxy(login).register_client(client())
    (collection,) = await backend.collections()
    (key,) = await backend.keys(collection)
    (entry,) = await backend.read(collection, [key])
    assert entry is not None
    await backend.write(collection, [key], [entry.with_body(b"x", entry.codec)])
    with pytest.raises(StorageUnavailable) as caught:
        await proxy(login).get_client("client-app")
    assert isinstance(caught.value.__cause__, CorruptEntry | DecryptionError)


async def test_one_failure_of_the_backend_is_not_noticed(backend: MemoryStore) -> None:
    login = storage(stack().chaos(seed=3, failure_rate=0.3).over(backend), KEYS)
    for number in range(10):
        await login.put(f"k{number}", number)
    assert login.find(Chaos).faults > 0


# -- names ---------------------------------------------------------------------------------


async def test_servers_of_one_backend_do_not_see_each_other(backend: MemoryStore) -> None:
    weather = storage(backend, KEYS, name="weather")
    other = storage(backend, KEYS, name="weather-cache")
    await weather.put("k", 1, collection="c")
    await other.put("k", 2, collection="c")
    assert await weather.get("k", collection="c") == 1
    assert await weather.collections() == ["c"]
    await weather.destroy()
    assert await other.get("k", collection="c") == 2


async def test_entries_are_bound_to_the_name(backend: MemoryStore) -> None:
    await storage(backend, KEYS, name="one").put("k", {"scope": "admin"}, collection="c")
    stolen = await backend.read("one/c", await backend.keys("one/c"))
    await backend.write("two/c", await backend.keys("one/c"), stolen)
    with pytest.raises(StoreUnavailable, match="DecryptionError"):
        await storage(backend, KEYS, name="two").get("k", collection="c")


async def test_a_secret_of_names_is_needed_to_find_them(backend: MemoryStore) -> None:
    secret = b"0123456789abcdef"
    await storage(backend, KEYS, names_secret=secret).put("k", 1)
    assert await storage(backend, KEYS, names_secret=secret).get("k") == 1
    assert await storage(backend, KEYS).get("k") is None
    with pytest.raises(ConfigurationError, match="at least 16 bytes"):
        storage(backend, KEYS, names_secret="short")


@pytest.mark.parametrize("name", ["a/b", "", "kvwrap.x"])
def test_names_that_cannot_be_told_apart_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="`name`"):
        storage(MemoryStore(), KEYS, name=name)


def test_bad_arguments() -> None:
    with pytest.raises(ConfigurationError, match="`required`"):
        storage(MemoryStore(), KEYS, required="no")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError) as caught:
        storage("redish://user:hunter2@localhost", KEYS)
    assert "hunter2" not in str(caught.value)


# -- caches, events, session state ---------------------------------------------------------


def counting_server(cache: Store) -> tuple[FastMCP, list[str]]:
    server = FastMCP("s", middleware=[ResponseCachingMiddleware(cache_storage=cache)])
    calls: list[str] = []

    @server.tool
    def forecast(city: str) -> dict[str, str]:
        calls.append(city)
        return {"sky": f"blue over {city}"}

    return server, calls


async def ask(server: FastMCP, city: str) -> Any:
    async with Client(server) as client:
        return (await client.call_tool("forecast", {"city": city})).data


async def test_replicas_share_a_response_cache(backend: MemoryStore) -> None:
    first, calls = counting_server(storage(backend, KEYS, required=False))
    second, no_calls = counting_server(storage(backend, KEYS, required=False))
    for server in (first, second, first):
        assert await ask(server, "Oslo") == {"sky": "blue over Oslo"}
    assert (calls, no_calls) == (["Oslo"], [])
    assert b"blue" not in await contents(backend)


async def test_a_server_answers_without_its_cache(backend: MemoryStore) -> None:
    cache = storage(stack().chaos().over(backend), KEYS, required=False)
    server, calls = counting_server(cache)
    cache.find(Chaos).down = True
    for _ in range(2):
        assert await ask(server, "Oslo") == {"sky": "blue over Oslo"}
    assert calls == ["Oslo", "Oslo"]


async def test_a_cache_whose_key_is_lost_is_filled_again(backend: MemoryStore) -> None:
    await ask(counting_server(storage(backend, KEYS, required=False))[0], "Oslo")
    lost = Keyring.generate("new")
    server, calls = counting_server(storage(backend, lost, required=False))
    for _ in range(2):
        await ask(server, "Oslo")
    assert calls == ["Oslo"]


async def test_events_are_replayed_by_another_replica(backend: MemoryStore) -> None:
    message = JSONRPCRequest(jsonrpc="2.0", id=1, method="confidential")
    first = EventStore(storage(backend, KEYS, required=False))
    events = [await first.store_event("stream", message) for _ in range(3)]
    replayed: list[EventMessage] = []

    async def send(event: EventMessage) -> None:
        replayed.append(event)

    second = EventStore(storage(backend, KEYS, required=False))
    assert await second.replay_events_after(events[0], send) == "stream"
    assert [event.event_id for event in replayed] == events[1:]
    assert b"confidential" not in await contents(backend)


async def test_a_stream_goes_on_without_its_event_store(backend: MemoryStore) -> None:
    cache = storage(stack().chaos().over(backend), KEYS, required=False)
    events = EventStore(cache, max_events_per_stream=1)
    await events.store_event("stream", None)
    cache.find(Chaos).down = True
    last = await events.store_event("stream", None)
    replayed: list[EventMessage] = []

    async def send(event: EventMessage) -> None:
        replayed.append(event)

    assert await events.replay_events_after(last, send) is None
    assert replayed == []


def server_with_sessions(backend: Store) -> FastMCP:
    server = FastMCP(
        "s", session_state_store=stack().clamp_ttl(default=60).over(storage(backend, KEYS))
    )
    server.add_provider(SessionProvider())

    @server.tool
    async def move(place: str, session_id: SessionId) -> str:
        session = await get_session(session_id)
        before = await session.get("place")
        await session.set("place", place)
        return f"{before} -> {place}"

    return server


async def test_replicas_share_sessions_of_tools(backend: MemoryStore) -> None:
    first, second = server_with_sessions(backend), server_with_sessions(backend)
    async with Client(first) as client, Client(second) as other:
        session = (await client.call_tool("create_session")).data
        moved = [
            (await each.call_tool("move", {"place": place, "session_id": session})).data
            for each, place in ((client, "Atlantis"), (other, "Oslo"), (client, "Oslo"))
        ]
    assert moved == ["None -> Atlantis", "Atlantis -> Oslo", "Oslo -> Oslo"]
    held = await contents(backend)
    assert b"fastmcp/fastmcp_state" in held
    assert b"Oslo" not in held
    (collection,) = await backend.collections()
    (key,) = await backend.keys(collection)
    (entry,) = await backend.read(collection, [key])
    assert entry.expires_at is not None
