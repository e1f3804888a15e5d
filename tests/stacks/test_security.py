"""What an owner of the backend can do to an encrypted stack, and what not: `docs/security.md`.

Each test has the heading of a claim on that page. The attacker reads and writes the bytes of the
backend past kvwrap, knows the format, and has no key.
"""

from __future__ import annotations

import pickle
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
import zstandard

from kvwrap import (
    CorruptEntry,
    DecryptionError,
    Key,
    Keyring,
    RedisStore,
    SQLiteStore,
    Stack,
    Store,
    adapt,
    stack,
)
from kvwrap.core import codec
from kvwrap.core.entry import Entry, expiry_ms
from kvwrap.core.primitives import Collection
from kvwrap.stores.shared.flat_names import format_name
from kvwrap.testing import ManualClock

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
KEYS = Keyring.generate("2026")
SECRET = "attack at dawn"
Name = tuple[Collection, str]


class Dictionary:
    """A mapping, as another process or a file could hold it."""

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}

    def store(self, clock: ManualClock) -> Store:
        return adapt(self.held, clock=clock)

    def get(self, name: Name) -> bytes:
        data: bytes = self.held[format_name(*name)]
        return data

    def set(self, name: Name, data: bytes) -> None:
        self.held[format_name(*name)] = data

    def delete(self, name: Name) -> None:
        del self.held[format_name(*name)]

    def everything(self) -> bytes:
        return repr(self.held).encode() + b"".join(self.held.values())


class Rows:
    """A file of SQLite, of which the attacker also knows the columns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def store(self, clock: ManualClock) -> Store:
        return SQLiteStore(self.path, clock=clock)

    def run(self, statement: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            return list(connection.execute(statement, values))

    def get(self, name: Name) -> bytes:
        ((data,),) = self.run(
            "SELECT entry FROM kvwrap WHERE collection = ? AND key = ?", name[0] or "", name[1]
        )
        return bytes(data)

    def set(self, name: Name, data: bytes) -> None:
        entry = Entry.from_bytes(data, *name, "attacker")
        expiry = expiry_ms(entry.expires_at) or None
        version = entry.version - 2**64 if entry.version >= 2**63 else entry.version
        self.run(
            "INSERT OR REPLACE INTO kvwrap (collection, key, expires_at, version, entry) "
            "VALUES (?, ?, ?, ?, ?)",
            *(name[0] or "", name[1], expiry, version, data),
        )

    def delete(self, name: Name) -> None:
        self.run("DELETE FROM kvwrap WHERE collection = ? AND key = ?", name[0] or "", name[1])

    def everything(self) -> bytes:
        return b"".join(path.read_bytes() for path in self.path.parent.glob(f"{self.path.name}*"))


class Server:
    """A Redis server, with the namespace of the store."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url, self.namespace = url, namespace
        self.client = redis.Redis.from_url(url)

    def store(self, clock: ManualClock) -> Store:
        return RedisStore(self.url, namespace=self.namespace, clock=clock)

    def name(self, name: Name) -> str:
        return f"{self.namespace}:{name[0] or ''}:{name[1]}"

    def get(self, name: Name) -> bytes:
        data: bytes = self.client.get(self.name(name))  # type: ignore[assignment]
        return data

    def set(self, name: Name, data: bytes) -> None:
        self.client.set(self.name(name), data)

    def delete(self, name: Name) -> None:
        self.client.delete(self.name(name))

    def everything(self) -> bytes:
        names: Any = self.client.keys(f"{self.namespace}:*")
        return b"".join(name + self.client.get(name) for name in names)


Backend = Dictionary | Rows | Server


@pytest.fixture(params=["dict", "sqlite", "redis"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    match request.param:
        case "dict":
            yield Dictionary()
        case "sqlite":
            yield Rows(tmp_path / "entries.db")
        case _:
            server = Server(request.getfixturevalue("redis_url"), f"security-{tmp_path.name}")
            yield server
            server.client.close()


Open = Callable[..., Store]


@pytest.fixture
async def opened(backend: Backend, clock: ManualClock) -> AsyncIterator[Open]:
    """Return a function that puts a stack over the backend."""
    base = backend.store(clock)
    async with base:

        def over(layers: Stack | None = None) -> Store:
            return (layers or stack().encrypt(KEYS)).over(base)

        yield over


def read(backend: Backend, name: Name) -> Entry:
    """Parse the entry of this name, as everybody can."""
    return Entry.from_bytes(backend.get(name), *name, "attacker")


def forge(backend: Backend, name: Name, entry: Entry) -> None:
    """Write an entry with a checksum that is right."""
    backend.set(name, entry.to_bytes(*name))


A: Name = ("users", "ada")
B: Name = ("users", "bob")


def test_every_claim_of_the_page_is_tested() -> None:
    tables = re.findall(r"(?m)^\| action \|.+\n(?:\|.+\n)+", PAGE)
    claims = re.findall(r"(?m)^\| (?!action)([a-z][^|]*?) \| ", "".join(tables))
    slugs = {"test_" + re.sub(r"\W+", "_", claim).strip("_") for claim in claims}
    assert len(slugs) == len(claims) > 15
    assert slugs <= set(globals())


# -- what an owner of the backend can do ---------------------------------------------------


async def test_withhold_or_delete_an_entry(backend: Backend, opened: Open) -> None:
    store = opened()
    await store.put("ada", SECRET, collection="users")
    backend.delete(A)
    assert await store.get("ada", collection="users") is None


async def test_put_back_an_older_entry_within_its_life(
    backend: Backend, opened: Open, clock: ManualClock
) -> None:
    store = opened()
    await store.put("ada", "old", collection="users", ttl=60)
    backup = backend.get(A)
    await store.put("ada", "new", collection="users", ttl=60)
    backend.set(A, backup)
    assert await store.get("ada", collection="users") == "old"
    clock.advance(60)
    assert await store.get("ada", collection="users") is None


async def test_put_back_an_older_entry_without_a_ttl_at_any_time(
    backend: Backend, opened: Open, clock: ManualClock
) -> None:
    store = opened()
    await store.put("ada", "old", collection="users")
    backup = backend.get(A)
    await store.put("ada", "new", collection="users")
    clock.advance(10**8)
    backend.set(A, backup)
    assert await store.get("ada", collection="users") == "old"


async def test_make_an_entry_expire_earlier(
    backend: Backend, opened: Open, clock: ManualClock
) -> None:
    store = opened()
    await store.put("ada", SECRET, collection="users", ttl=60)
    forge(backend, A, read(backend, A).with_expiry(clock.time() + 1))
    clock.advance(2)
    assert await store.get("ada", collection="users") is None


async def test_make_conditional_writes_succeed_or_fail(backend: Backend, opened: Open) -> None:
    store = opened()
    await store.put("ada", 1, collection="users")
    versioned = await store.get_versioned("ada", collection="users")
    assert versioned is not None
    entry = read(backend, A)
    forge(backend, A, entry.with_expiry(None, 7))
    assert not await store.compare_and_put("ada", 2, versioned.version, collection="users")
    forge(backend, A, entry)
    assert await store.compare_and_put("ada", 2, versioned.version, collection="users")


async def test_make_reads_fail(backend: Backend, opened: Open) -> None:
    store = opened()
    await store.put("ada", SECRET, collection="users")
    entry = read(backend, A)
    forge(backend, A, entry.with_body(entry.body[:-1] + b"\x00\x01", entry.codec))
    with pytest.raises(DecryptionError):
        await store.get("ada", collection="users")


async def test_take_memory_and_time_of_readers(backend: Backend, opened: Open) -> None:
    store = opened(stack().compress().encrypt(KEYS))
    await store.put("ada", SECRET, collection="users")
    entry, bomb = read(backend, A), zstandard.compress(bytes(30_000_000))
    for steps in (entry.codec, codec.ZSTD + codec.MSGPACK):
        forge(backend, A, entry.with_body(bomb, steps))
        with pytest.raises(DecryptionError):  # before anything is decompressed
            await store.get("ada", collection="users")


async def test_see_the_names_of_collections_and_keys(backend: Backend, opened: Open) -> None:
    await opened().put("ada", SECRET, collection="users")
    assert b"users" in backend.everything()
    assert b"ada" in backend.everything()


async def test_see_when_entries_were_made_and_when_they_expire(
    backend: Backend, opened: Open, clock: ManualClock
) -> None:
    await opened().put("ada", SECRET, collection="users", ttl=60)
    entry = read(backend, A)
    assert entry.created_at == pytest.approx(clock.time(), abs=0.001)
    assert entry.expires_at == pytest.approx(clock.time() + 60, abs=0.001)


async def test_see_the_length_of_values(backend: Backend, opened: Open) -> None:
    store = opened()
    for length in (1, 100):
        await store.put("ada", "x" * length, collection="users")
        assert len(read(backend, A).body) == 44 + length + 2


async def test_see_how_values_were_encoded(backend: Backend, opened: Open) -> None:
    layers = stack().compress(min_size=0).encrypt(KEYS)
    await opened(layers).put("ada", "x" * 99, collection="users")
    assert read(backend, A).codec[5:] == codec.ZSTD + codec.JSON


async def test_see_which_entries_have_the_same_key(backend: Backend, opened: Open) -> None:
    await opened().put("ada", 1, collection="users")
    await opened().put("bob", 2, collection="users")
    one, other = read(backend, A), read(backend, B)
    assert one.body[:16] == other.body[:16]
    await opened(stack().encrypt(Keyring.generate("2026"))).put("bob", 2, collection="users")
    other = read(backend, B)
    assert one.codec[:5] == other.codec[:5]
    assert one.body[:16] != other.body[:16]


# -- what an owner of the backend cannot do ------------------------------------------------


async def test_read_values(backend: Backend, opened: Open) -> None:
    layers = stack().serialize("msgpack").encrypt(KEYS)
    await opened(layers).put("ada", {"text": SECRET}, collection="users")
    everything = backend.everything()
    assert SECRET.encode() not in everything
    assert KEYS.reveal_text().encode() not in everything
    assert Key(KEYS.reveal_text().partition(":")[2]).reveal() not in everything


async def test_see_that_two_values_are_equal(backend: Backend, opened: Open) -> None:
    store = opened()
    await store.put_many(["ada", "bob"], [SECRET, SECRET], collection="users")
    one, other = read(backend, A), read(backend, B)
    assert one.version != other.version
    assert one.body[16:] != other.body[16:]
    await store.put("bob", SECRET, collection="users")
    assert read(backend, B).body[16:] != other.body[16:]


async def test_alter_a_value(backend: Backend, opened: Open) -> None:
    store = opened()
    await store.put("ada", SECRET, collection="users")
    entry = read(backend, A)
    for index in range(len(entry.body)):
        altered = bytearray(entry.body)
        altered[index] ^= 1
        forge(backend, A, entry.with_body(bytes(altered), entry.codec))
        with pytest.raises(DecryptionError):
            await store.get("ada", collection="users")


async def test_alter_how_a_value_is_decoded(backend: Backend, opened: Open) -> None:
    store = opened()
    await store.put("ada", SECRET, collection="users")
    entry = read(backend, A)
    for steps in (
        entry.codec[:5] + codec.PICKLE,
        entry.codec[:5] + codec.BYTES,
        entry.codec[:5] + codec.ZSTD + codec.JSON,
        codec.JSON,
        entry.codec[:5] + entry.codec,
    ):
        forge(backend, A, entry.with_body(entry.body, steps))
        with pytest.raises(DecryptionError):
            await store.get("ada", collection="users")


async def test_move_an_entry_to_another_key_or_collection(backend: Backend, opened: Open) -> None:
    store = opened()
    await store.put("ada", SECRET, collection="users")
    for name in (B, ("guests", "ada"), (None, "ada"), ("user", "sada")):
        forge(backend, name, read(backend, A))
        with pytest.raises(DecryptionError):
            await store.get(name[1], collection=name[0])


async def test_move_an_entry_to_another_context(backend: Backend, opened: Open) -> None:
    acme, globex = (
        opened(stack().encrypt(KEYS, context=tenant.encode()).prefix_collection(f"{tenant}-"))
        for tenant in ("acme", "globex")
    )
    await acme.put("ada", SECRET, collection="users")
    forge(backend, ("globex-users", "ada"), read(backend, ("acme-users", "ada")))
    with pytest.raises(DecryptionError):
        await globex.get("ada", collection="users")


async def test_make_an_entry_live_longer(
    backend: Backend, opened: Open, clock: ManualClock
) -> None:
    store = opened()
    await store.put("ada", SECRET, collection="users", ttl=60)
    entry = read(backend, A)
    later = codec.annotation(codec.SEALED_EXPIRY, (2**47).to_bytes(6, "big"))
    for steps in (entry.codec[:5] + later + codec.JSON, entry.codec[:5] + codec.JSON):
        forge(backend, A, Entry(entry.body, steps, entry.created_at, None, 1))
        with pytest.raises(DecryptionError):
            await store.get("ada", collection="users")
    forge(backend, A, entry.with_expiry(None))
    assert await store.get("ada", collection="users") == SECRET
    clock.advance(60)
    assert await store.get("ada", collection="users") is None
    assert await store.put_if_absent("ada", "new", collection="users")


async def test_revive_an_expired_or_deleted_entry_after_its_ttl(
    backend: Backend, opened: Open, clock: ManualClock
) -> None:
    store = opened()
    await store.put("ada", SECRET, collection="users", ttl=60)
    backup = read(backend, A)
    await store.delete("ada", collection="users")
    clock.advance(3600)
    forge(backend, A, backup.with_expiry(clock.time() + 60))
    assert await store.get("ada", collection="users") is None
    assert await store.keys("users") == []
    assert not await store.delete("ada", collection="users")


async def test_alter_the_creation_time(backend: Backend, opened: Open) -> None:
    store = opened()
    await store.put("ada", SECRET, collection="users")
    entry = read(backend, A)
    forge(backend, A, Entry(entry.body, entry.codec, entry.created_at - 1, None, entry.version))
    with pytest.raises(DecryptionError):
        await store.get("ada", collection="users")


async def test_have_a_value_of_their_own_read(backend: Backend, opened: Open) -> None:
    store = opened()
    await store.put("ada", SECRET, collection="users")
    entry = read(backend, A)
    for body, steps in (
        (b'"forged"', codec.JSON),
        (b'"forged"', b""),
        (entry.body[:44], entry.codec),
        (entry.body[:28] + b'"forged"' + bytes(16), entry.codec),
    ):
        forge(backend, A, entry.with_body(body, steps))
        with pytest.raises((DecryptionError, CorruptEntry)):
            await store.get("ada", collection="users")


class Code:
    """Sets a flag when it is unpickled."""

    ran = False

    def __reduce__(self) -> Any:
        return setattr, (Code, "ran", True)


async def test_run_code_through_a_pickle(backend: Backend, opened: Open) -> None:
    store = opened(stack().serialize("pickle").encrypt(KEYS))
    await store.put("ada", {1, 2}, collection="users")
    entry = read(backend, A)
    for steps in (codec.PICKLE, entry.codec):
        forge(backend, A, entry.with_body(pickle.dumps(Code()), steps))
        with pytest.raises(DecryptionError):
            await store.get("ada", collection="users")
    assert not Code.ran


async def test_choose_key_or_algorithm(backend: Backend, opened: Open) -> None:
    ring = KEYS.with_key("2025")
    store = opened(stack().encrypt(ring))
    await store.put("ada", SECRET, collection="users")
    entry = read(backend, A)
    for name in ("2025", "unknown"):
        steps = codec.step(codec.ENCRYPTED, codec.fingerprint(name)) + entry.codec[5:]
        forge(backend, A, entry.with_body(entry.body, steps))
        with pytest.raises(DecryptionError):
            await store.get("ada", collection="users")


async def test_have_one_message_open_with_two_keys(backend: Backend, opened: Open) -> None:
    """With both keys known: the commitment of the other key does not make the message open."""
    ring = KEYS.with_key("2025")
    await opened(stack().encrypt(ring)).put("ada", SECRET, collection="users")
    entry = read(backend, A)
    steps = codec.step(codec.ENCRYPTED, codec.fingerprint("2025")) + entry.codec[5:]
    other = ring.cipher("2025").commitment
    for commitment in (entry.body[:16], other):
        forge(backend, A, entry.with_body(commitment + entry.body[16:], steps))
        with pytest.raises(DecryptionError):
            await opened(stack().encrypt(ring)).get("ada", collection="users")
    forge(backend, A, entry.with_body(other + entry.body[16:], entry.codec))
    with pytest.raises(DecryptionError, match="another key of this name"):
        await opened(stack().encrypt(ring)).get("ada", collection="users")


async def test_have_ciphertext_taken_for_plaintext(backend: Backend, opened: Open) -> None:
    layers = stack().serialize("bytes").encrypt(KEYS, accept_plaintext=True)
    store = opened(layers.silence("migration-open"))
    for ttl in (None, 60):
        await store.put("ada", SECRET.encode(), collection="users", ttl=ttl)
        entry = read(backend, A)
        for steps in (codec.BYTES, b"", entry.codec[5:]):
            forge(backend, A, entry.with_body(entry.body, steps))
            with pytest.raises(DecryptionError, match="is encrypted, and its header says"):
                await store.get("ada", collection="users")
