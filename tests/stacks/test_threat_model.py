"""The threat model of `docs/security.md`: who has which bytes, what is bound, and rotation."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from kvwrap import (
    DecryptionError,
    Keyring,
    KvwrapError,
    MemoryStore,
    SQLiteStore,
    Store,
    WriteBehind,
    rewrite,
    stack,
)
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection
from kvwrap.integrations import prometheus
from kvwrap.testing import ManualClock
from tests.layers.faulty import FaultyStore

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
OLD = Keyring.generate("2025")
SECRET = "attack at dawn"


def rows(section: str) -> list[list[str]]:
    """Return the cells of the table of a section, without its heading."""
    text = re.split(rf"(?m)^## {re.escape(section)}$", PAGE)[1].split("\n## ")[0]
    lines = re.findall(r"(?m)^\| (.+) \|$", text)[1:]
    return [line.split(" | ") for line in lines]


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


# -- who has which bytes -------------------------------------------------------------------


def test_every_row_is_tested() -> None:
    names = {"test_" + re.sub(r"\W+", "_", cells[0]) for cells in rows(WHO)}
    assert len(names) > 5
    assert names <= set(globals())


WHO = "Threat model: who has which bytes"


async def test_a_reader_of_the_backend_a_backup_or_the_network(tmp_path: Path) -> None:
    layers = stack().hash_keys("the secret of names", collections=True).encrypt(OLD)
    async with layers.over(SQLiteStore(tmp_path / "a.db")) as store:
        await store.put("ada", SECRET, collection="users")
    held = contents(tmp_path)
    for hidden in (b"ada", b"users", SECRET.encode()):
        assert hidden not in held


async def test_a_writer_of_the_backend() -> None:
    backend = MemoryStore()
    store = stack().encrypt(OLD).over(backend)
    await backend.put("ada", "forged")
    with pytest.raises(DecryptionError):
        await store.get("ada")
    await store.put("ada", SECRET)
    await backend.delete("ada")
    assert await store.get("ada") is None


async def test_a_reader_of_this_machine_s_disk(tmp_path: Path) -> None:
    backend = FaultyStore()
    store = (
        stack()
        .hash_keys("the secret of names", collections=True)
        .encrypt(OLD)
        .read_through(lambda: SQLiteStore(tmp_path / "near.db"), ttl=60)
        .fallback(lambda: SQLiteStore(tmp_path / "other.db"), writes="both")
        .write_behind(tmp_path / "journal")
        .over(backend)
    )
    async with store:
        await store.put("ada", SECRET, collection="users")
        assert await store.get("ada", collection="users") == SECRET
        await store.find(WriteBehind).flush()
        assert await store.get("ada", collection="users") == SECRET
        held = contents(tmp_path)
    assert {"near.db", "other.db", "journal"} <= {path.name for path in tmp_path.iterdir()}
    for hidden in (b"ada", b"users", SECRET.encode()):
        assert hidden not in held
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}


async def test_a_reader_of_logs_and_metrics(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    backend, registry = MemoryStore(), CollectorRegistry()
    store = stack().statistics(name="app").log().encrypt(OLD).over(backend)
    prometheus.register(store, registry=registry)
    await store.put("ada", SECRET, collection="users")
    await backend.put("ada", SECRET, collection="users")
    with pytest.raises(KvwrapError) as caught:
        await store.get("ada", collection="users")
    shown = f"{caplog.text}{caught.value!r}{caught.value}{generate_latest(registry).decode()}"
    assert "ada" in shown
    assert SECRET not in shown
    assert OLD.reveal_text().partition(":")[2] not in shown


async def test_another_program_with_the_same_keyring() -> None:
    backend = MemoryStore()
    await stack().encrypt(OLD).over(backend).put("ada", SECRET)
    assert await stack().encrypt(OLD).over(backend).get("ada") == SECRET
    for layers in (stack().encrypt(OLD, context=b"b"), stack().encrypt(Keyring.generate("2025"))):
        with pytest.raises(DecryptionError):
            await layers.over(backend).get("ada")


async def test_a_former_holder_of_a_key() -> None:
    ring = OLD.with_key("2026").promoted("2026")
    backend = MemoryStore()
    await stack().encrypt(OLD).over(backend).put("ada", SECRET)
    assert await stack().encrypt(ring).over(backend).get("ada") == SECRET
    with pytest.raises(DecryptionError):
        await stack().encrypt(ring.retired("2025")).over(backend).get("ada")


# -- what is bound -------------------------------------------------------------------------

Altered = tuple[Collection, str, Entry]
LATER = codec.annotation(codec.SEALED_EXPIRY, (2**47).to_bytes(6, "big"))
CHANGES: dict[str, Callable[[Entry], Altered]] = {
    "value": lambda e: ("users", "ada", e.with_body(e.body[:-1] + b"\0", e.codec)),
    "context": lambda e: ("users", "ada", e),
    "collection": lambda e: ("guests", "ada", e),
    "key": lambda e: ("users", "bob", e),
    "creation time": lambda e: (
        *("users", "ada"),
        Entry(e.body, e.codec, e.created_at - 1, e.expires_at, e.version),
    ),
    "serializer and compression": lambda e: (
        *("users", "ada"),
        e.with_body(e.body, e.codec[:-1] + codec.MSGPACK),
    ),
    "key id": lambda e: (
        *("users", "ada"),
        e.with_body(e.body, e.codec[:1] + codec.fingerprint("2026") + e.codec[5:]),
    ),
    "sealed expiry": lambda e: (
        *("users", "ada"),
        e.with_body(e.body, e.codec[:5] + LATER + codec.JSON),
    ),
    "expiry in the header": lambda e: ("users", "ada", e.with_expiry(None)),
    "version": lambda e: ("users", "ada", e.with_expiry(e.expires_at, 7)),
    # A store hands out entries whose checksum it has compared: that of an altered one is computed.
    "checksum": lambda e: ("users", "ada", e),
}


def test_every_part_is_changed() -> None:
    assert [cells[0] for cells in rows("What is bound to an entry")] == list(CHANGES)


@pytest.mark.parametrize(("part", "bound"), [r[:2] for r in rows("What is bound to an entry")])
async def test_what_is_bound(part: str, bound: str, clock: ManualClock) -> None:
    backend = MemoryStore(clock=clock)
    keys = OLD.with_key("2026")
    await stack().encrypt(keys).over(backend).put("ada", SECRET, collection="users", ttl=60)
    (entry,) = await backend.read("users", ["ada"])
    assert entry is not None
    collection, key, altered = CHANGES[part](entry)
    await backend.write(collection, [key], [altered])
    context = b"other" if part == "context" else b""
    store = stack().encrypt(keys, context=context).over(backend)
    if bound == "yes":
        with pytest.raises(DecryptionError):
            await store.get(key, collection=collection)
        return
    assert await store.get(key, collection=collection) == SECRET
    clock.advance(60)
    assert await store.get(key, collection=collection) is None


# -- rotation ------------------------------------------------------------------------------


async def can_read_old(backend: Store) -> bool:
    """Tell whether the holder of the old key can read what was put before the rotation."""
    try:
        return await stack().encrypt(OLD).over(backend).get("before") == SECRET
    except DecryptionError:
        return False


async def test_what_a_leaked_key_opens_in_each_step() -> None:
    assert [cells[0] for cells in rows("Rotation")] == ["added", "promoted", "rewritten", "retired"]
    backend = MemoryStore()
    added = OLD.with_key("2026")
    promoted = added.promoted("2026")
    retired = promoted.retired("2025")
    thief = stack().encrypt(OLD).over(backend)
    await stack().encrypt(added).over(backend).put("before", SECRET)
    assert await thief.get("before") == SECRET

    store = stack().encrypt(promoted).over(backend)
    await store.put("new", SECRET)
    assert await thief.get("before") == SECRET
    with pytest.raises(DecryptionError):
        await thief.get("new")
    await thief.put("forged", "by the thief")
    assert await store.get("forged") == "by the thief"

    await rewrite(store)
    with pytest.raises(DecryptionError):
        await thief.get("before")
    await thief.put("forged", "again")
    assert await store.get("forged") == "again"

    with pytest.raises(DecryptionError):
        await stack().encrypt(retired).over(backend).get("forged")


# -- what weakens it -----------------------------------------------------------------------


def test_what_weakens_it_is_reported_by_findings_that_exist() -> None:
    section = re.split(r"(?m)^## What weakens this$", PAGE)[1].split("No finding reports")[0]
    codes = set(re.findall(r"\(`([a-z-]+)`|, `(plaintext-[a-z-]+)`", section))
    named = {code for pair in codes for code in pair if code}
    assert len(named) > 5
    findings = (Path(__file__).parents[2] / "docs" / "findings.md").read_text(encoding="utf-8")
    assert [code for code in named if f"| `{code}` |" not in findings] == []


async def test_a_clock_that_is_set_back(clock: ManualClock) -> None:
    store = stack().encrypt(OLD).over(MemoryStore(clock=clock))
    await store.put("ada", SECRET, ttl=60)
    (entry,) = await store.base.read(None, ["ada"])
    clock.advance(61)
    assert await store.get("ada") is None
    clock.jump(-30)
    await store.base.write(None, ["ada"], [entry])
    assert await store.get("ada") == SECRET


async def test_compression_beside_text_of_somebody_else() -> None:
    backend = MemoryStore()
    store = stack().compress(min_size=0).encrypt(OLD).over(backend)
    lengths = []
    for guess in ("attack at dusk or at noon", "attack at dawn attack at dawn"[:25]):
        await store.put("k", f"{SECRET * 9} {guess}")
        (entry,) = await backend.read(None, ["k"])
        assert entry is not None
        lengths.append(len(entry.body))
    assert lengths[1] < lengths[0]
