"""Contexts: entries open only in the place for which they were sealed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kvwrap import (
    ConfigurationError,
    DecryptionError,
    Encryption,
    EnvelopeKeyring,
    Keyring,
    LocalKEK,
    MemoryStore,
    SQLiteStore,
    Stack,
    rewrite,
    stack,
)
from kvwrap.stores.redis import RedisStore

KEYS = Keyring.generate("k")


def with_context(context: bytes, *accepted: bytes, keyring: Any = KEYS) -> Stack:
    layers = stack().encrypt(keyring, context=context, accept_contexts=accepted)
    return layers.silence("contexts-open") if accepted else layers


async def test_an_entry_opens_only_with_its_context() -> None:
    backend = MemoryStore()
    await with_context(b"staff").over(backend).put("role", "admin")
    assert await with_context(b"staff").over(backend).get("role") == "admin"
    for other in (b"guests", b"", b"staff\x00", b"staf"):
        with pytest.raises(DecryptionError, match="another context"):
            await with_context(other).over(backend).get("role")


async def test_a_context_and_a_collection_are_told_apart() -> None:
    backend = MemoryStore()
    await with_context(b"ab").over(backend).put("k", 1, collection="c")
    (entry,) = await backend.read("c", ["k"])
    assert entry is not None
    await backend.write("bc", ["k"], [entry])
    with pytest.raises(DecryptionError):
        await with_context(b"a").over(backend).get("k", collection="bc")


async def test_tables_of_one_file_and_namespaces_of_one_server(
    tmp_path: Path, redis_url: str, request: Any
) -> None:
    for make in (
        lambda name: SQLiteStore(tmp_path / "entries.db", table=name),
        lambda name: RedisStore(redis_url, namespace=f"{request.node.name}-{name}"),
    ):
        async with make("staff") as here, make("guests") as there:
            staff = with_context(b"staff").over(here)
            guests = with_context(b"guests").over(there)
            await staff.put("role:7", "admin")
            await there.write(None, ["role:7"], await here.read(None, ["role:7"]))  # type: ignore[arg-type]
            with pytest.raises(DecryptionError):
                await guests.get("role:7")


async def test_tenants_by_prefix() -> None:
    backend = MemoryStore()
    one, other = (
        stack().encrypt(KEYS, context=prefix.encode()).prefix_collection(prefix).over(backend)
        for prefix in ("a-", "b-")
    )
    await one.put("role", "admin", collection="users")
    await backend.write("b-users", ["role"], await backend.read("a-users", ["role"]))  # type: ignore[arg-type]
    with pytest.raises(DecryptionError):
        await other.get("role", collection="users")


@pytest.mark.parametrize("kind", ["plain", "fetched", "envelope"])
async def test_older_contexts_are_read_and_brought_over_by_a_rewrite(kind: str) -> None:
    keyring: Any = KEYS
    if kind == "fetched":
        keyring = Keyring.from_callable(lambda: KEYS)
    elif kind == "envelope":
        keyring = await EnvelopeKeyring.generate(LocalKEK.generate())
    backend = MemoryStore()
    contexts = (b"", b"first", b"second")
    for index, context in enumerate(contexts):
        store = with_context(context, keyring=keyring).over(backend)
        await store.put(f"k{index}", index, ttl=60)
    moved = with_context(b"second", b"first", b"", keyring=keyring).over(backend)
    assert await moved.get_many(["k0", "k1", "k2"]) == [0, 1, 2]
    report = await rewrite(moved)
    assert (report.rewritten, report.current) == (2, 1)
    closed = with_context(b"second", keyring=keyring).over(backend)
    assert await closed.get_many(["k0", "k1", "k2"]) == [0, 1, 2]
    assert (await rewrite(moved)).current == 3


async def test_a_context_that_is_not_accepted_stays_closed() -> None:
    backend = MemoryStore()
    await with_context(b"other").over(backend).put("k", 1)
    with pytest.raises(DecryptionError, match="another context"):
        await with_context(b"a", b"b", b"c").over(backend).get("k")


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ({"context": "staff"}, r"`context` must be bytes; got str: .* context=b'sessions'"),
        ({"context": None}, "`context` must be bytes; got NoneType"),
        ({"accept_contexts": b"staff"}, "`accept_contexts` must be a list of bytes; got bytes"),
        ({"accept_contexts": "staff"}, "`accept_contexts` must be a list of bytes; got str"),
        ({"accept_contexts": [b"a", "b"]}, "`accept_contexts` must be bytes; got str"),
    ],
)
def test_contexts_of_another_type_are_refused(argument: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        Encryption(KEYS, **argument)
    assert "staff" not in str(caught.value)
