"""Rewriting in place: nothing lost, nothing forgotten, and begun again where it stopped."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from kvwrap import (
    Capability,
    Compression,
    ConfigurationError,
    Keyring,
    MemoryStore,
    Passthrough,
    ReadThrough,
    SQLiteStore,
    Stack,
    Statistics,
    Store,
    StoreUnavailable,
    UnsupportedOperation,
    rewrite,
    stack,
)
from kvwrap.cli.main import main
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected
from kvwrap.rewriting.rewrite import Progress
from kvwrap.stores.mapping import MappingStore
from kvwrap.stores.redis import RedisStore
from kvwrap.testing import ManualClock

OLD = Keyring({"old": b"o" * 32})
NEW = OLD.with_key("new", b"n" * 32).promoted("new")
NEW_STEP = b"\x98" + codec.fingerprint("new")


@pytest.fixture(params=["memory", "mapping", "sqlite", "redis"])
async def backend(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[Callable[[], Store]]:
    """Makes the backend; one in memory is the same every time."""
    memory = (
        MemoryStore(clock=clock) if request.param == "memory" else MappingStore({}, clock=clock)
    )
    made: list[Store] = []
    url = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    namespace = uuid.uuid4().hex

    def make() -> Store:
        if request.param in ("memory", "mapping"):
            return memory
        if request.param == "sqlite":
            store: Store = SQLiteStore(tmp_path / "store.db", clock=clock)
        else:
            store = RedisStore(url, namespace=namespace, clock=clock)
        made.append(store)
        return store

    yield make
    for store in made:
        await store.close()
    for store in made[:1]:
        async with store:
            await store.destroy()


def whole(keyring: Keyring, algorithm: Any = "zstd") -> Stack:
    """A stack with a bit of everything around what changes bytes."""
    return (
        stack()
        .statistics()
        .read_through(lambda: MemoryStore(), ttl=30)
        .clamp_ttl(maximum=3600)
        .prefix_collection("app-")
        .compress(algorithm, min_size=0)
        .encrypt(keyring)
    )


async def filled(store: Store, count: int = 250) -> dict[tuple[Collection, str], Any]:
    values: dict[tuple[Collection, str], Any] = {}
    for collection in (None, "users", "orders"):
        keys = [f"k{n:03}" for n in range(count)]
        each = [{"n": n, "text": f"{collection} " * 40} for n in range(count)]
        await store.put_many(keys, each, collection=collection, ttl=1000)
        values |= {(collection, key): value for key, value in zip(keys, each, strict=True)}
    return values


async def contents(store: Store, collections: Sequence[Collection]) -> dict[Any, Any]:
    return {
        (collection, key): value
        for collection in collections
        async for key, value in store.items(collection=collection)
    }


async def test_every_entry_comes_into_its_present_form(
    backend: Callable[[], Store], clock: ManualClock
) -> None:
    async with whole(OLD, "gzip").over(backend()) as store:
        values = await filled(store)
    clock.advance(100)
    base = backend()
    async with whole(NEW).over(base) as store:
        before = await store.get_versioned("k000", collection="users")
        store.find(Statistics).reset()
        dry = await rewrite(store, dry_run=True)
        assert (dry.seen, dry.rewritten, dry.current, dry.failed) == (750, 750, 0, 0)
        assert dry.keys == {"old": 750}
        assert dry.retirable == []

        report = await rewrite(store, batch=64)
        assert (report.seen, report.rewritten, report.current, report.failed) == (750, 750, 0, 0)
        assert report.keys == {"new": 750}
        assert report.retirable == ["old"]
        assert report.complete

        again = await rewrite(store)
        assert (again.rewritten, again.current) == (0, 750)
        assert store.find(Statistics).snapshot().rows == ()
        assert store.find(ReadThrough).snapshot().near_hits == 0

        # Version and end are as they were: readers notice nothing.
        assert await store.get_versioned("k000", collection="users") == before
        assert (await store.ttl("k000", collection="users"))[1] == pytest.approx(900, abs=0.01)
        assert await contents(store, [None, "users", "orders"]) == values
        entries = await base.read("app-users", ["k000", "k249"])
        for entry in entries:
            assert entry is not None
            assert entry.codec == NEW_STEP + codec.ZSTD + codec.JSON
    async with whole(NEW.retired("old")).over(backend()) as store:
        assert await contents(store, [None, "users", "orders"]) == values
        await store.destroy()


async def test_what_others_keep_beside_is_left_alone(backend: Callable[[], Store]) -> None:
    base = backend()
    others = stack().prefix_collection("other-").encrypt(Keyring.generate("theirs")).over(base)
    await others.put("k", {"n": 1}, collection="x")
    store = stack().prefix_collection("app-").encrypt(OLD).over(base)
    await store.put("k", {"n": 2}, collection="x")
    report = await rewrite(stack().prefix_collection("app-").encrypt(NEW).over(base))
    assert (report.seen, report.rewritten, report.failed) == (1, 1, 0)
    assert await others.get("k", collection="x") == {"n": 1}


class Meddler(Passthrough):
    """Does something of its own after each read, once."""

    def __init__(self) -> None:
        self.act: Callable[[], Any] | None = None

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        found = await self.inner.read(collection, keys)
        if self.act is not None:
            act, self.act = self.act, None
            await act()
        return found


async def test_a_write_that_comes_between_wins() -> None:
    base = MemoryStore()
    await stack().encrypt(OLD).over(base).put_many(["a", "b", "c", "d"], [1, 2, 3, 4])
    writer = stack().encrypt(OLD).over(base)
    store = stack().encrypt(NEW).layer(Meddler()).over(base)

    async def meddle() -> None:
        await writer.put("b", "changed")
        await writer.delete("c")
        await writer.expire("d", 60)

    store.find(Meddler).act = meddle
    report = await rewrite(store)
    assert (report.rewritten, report.gone, report.failed) == (3, 1, 0)
    assert report.keys == {"new": 3}
    assert await store.get_many(["a", "b", "c", "d"]) == [1, "changed", None, 4]
    assert (await store.ttl("d"))[1] == pytest.approx(60, abs=1)


async def test_no_increment_is_lost_while_rewriting(backend: Callable[[], Store]) -> None:
    base = backend()
    keys = [f"k{n}" for n in range(40)]
    unaware = stack().encrypt(NEW.promoted("old")).over(base)
    await unaware.put_many(keys, [0] * len(keys))
    store = stack().encrypt(NEW).over(base)
    counted = 0
    stop = asyncio.Event()

    async def count() -> None:
        nonlocal counted
        while not stop.is_set():
            # Half of the writers have not heard of the promotion yet.
            writer = unaware if counted % 2 else store
            await writer.increment(keys[counted % len(keys)])
            counted += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    for _ in range(3):
        report = await rewrite(store, batch=7)
        assert report.failed == 0
    stop.set()
    await counting
    assert counted > 0
    assert sum(await store.get_many(keys)) == counted


async def test_an_entry_that_is_always_in_motion_is_reported() -> None:
    base = MemoryStore()
    writer = stack().encrypt(OLD).over(base)
    await writer.put("a", 0)

    class Restless(Passthrough):
        async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
            found = await self.inner.read(collection, keys)
            await writer.put("a", 1)
            return found

    store = stack().encrypt(NEW).layer(Restless()).over(base)
    report = await rewrite(store)
    assert (report.failed, report.rewritten) == (1, 0)
    assert "changed under" in report.failures[0].reason


async def test_what_does_not_open_is_reported_and_left(backend: Callable[[], Store]) -> None:
    base = backend()
    store = stack().encrypt(OLD).over(base)
    await store.put_many(["a", "b", "c", "d"], [1, 2, 3, 4], collection="x")
    broken = (await base.read("x", ["b"]))[0]
    assert broken is not None
    await base.write("x", ["b"], [broken.with_body(broken.body[:-1], broken.codec)])
    await base.put("c", "plain", collection="x")
    report = await rewrite(stack().encrypt(NEW).over(base))
    assert (report.rewritten, report.failed) == (2, 2)
    assert {failure.key for failure in report.failures} == {"b", "c"}
    assert all(failure.collection == "x" for failure in report.failures)
    assert report.retirable == []
    assert "failed" in str(report)
    assert (await base.read("x", ["b"]))[0] is not None
    assert await base.get("c", collection="x") == "plain"


@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
async def test_plaintext_is_brought_over(backend: Callable[[], Store]) -> None:
    base = backend()
    values = await filled(base, 20)
    store = stack().encrypt(NEW, accept_plaintext=True).over(base)
    dry = await rewrite(store, dry_run=True)
    assert (dry.unencrypted, dry.keys) == (60, {})
    report = await rewrite(store)
    assert (report.unencrypted, report.keys) == (0, {"new": 60})
    closed = stack().encrypt(NEW).over(base)
    assert await contents(closed, [None, "users", "orders"]) == values


def visitor(n: int) -> dict[str, Any]:
    return {"name": f"user {n}", "city": "Paris", "likes": ["tea", "books"], "visits": n * 7}


@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
async def test_what_another_program_wrote_into_redis_is_brought_over(redis_url: str) -> None:
    async with RedisStore(redis_url.removesuffix("/0") + "/9", raw=True) as base:
        await base.put_many([f"user:{n}" for n in range(50)], [b'{"n": %d}' % n for n in range(50)])
        await base.put("no-json", b"\xff\xfe")
        users = stack().serialize("json").encrypt(NEW, accept_plaintext=True).over(base)
        report = await rewrite(users)
        assert (report.rewritten, report.failed, report.unencrypted) == (50, 1, 1)
        assert report.failures[0].key == "no-json"
        assert await base.get("no-json") == b"\xff\xfe"
        await base.delete("no-json")
        closed = stack().serialize("msgpack").encrypt(NEW).over(base)
        assert await closed.get("user:7") == {"n": 7}
        assert [key async for key, _ in closed.items(prefix="user:4")] != []
        await base.delete_many(await base.keys())


async def test_dictionaries_and_the_keys_that_they_lie_under() -> None:
    base = MemoryStore()
    old = stack().compress(dictionaries=True).encrypt(OLD).over(base)
    for n in range(300):
        await old.put(f"k{n}", visitor(n))
    info = await old.find(Compression).train(size=1024)
    store = stack().compress(dictionaries=True).encrypt(NEW).over(base)
    report = await rewrite(store)
    # 300 values, and two records of the dictionary's own, lie under the new key.
    assert report.keys == {"new": 302}
    assert report.dictionaries == {info.id: 300}
    last = stack().compress(dictionaries=True).encrypt(NEW.retired("old")).over(base)
    assert await last.get("k7") == visitor(7)

    await last.find(Compression).retire()
    report = await rewrite(last)
    assert report.dictionaries == {}


@pytest.mark.parametrize("kind", ["path", "mapping"])
async def test_it_goes_on_where_it_stopped(
    backend: Callable[[], Store], tmp_path: Path, kind: str
) -> None:
    base = backend()
    values = await filled(stack().encrypt(OLD).over(base), 100)
    store = stack().encrypt(NEW).over(base)
    path = tmp_path / "state.json"
    seen: list[Progress] = []

    def interrupt(progress: Progress) -> None:
        seen.append(progress)
        if progress.report.seen == 150:
            raise KeyboardInterrupt

    resume: Any = path if kind == "path" else None
    with pytest.raises(KeyboardInterrupt):
        await rewrite(store, batch=25, progress=interrupt, resume=resume)
    if kind == "mapping":
        resume = json.loads(json.dumps(seen[-1].state))

    report = await rewrite(store, batch=25, resume=resume)
    # Where keys have no order, the collection that it was in is read from its beginning.
    ordered = Capability.RANGE in base.capabilities
    assert (report.seen, report.rewritten) == (300, 300 if ordered else 250)
    assert report.keys == {"new": 300}
    assert report.complete
    assert not path.exists()
    assert await contents(store, [None, "users", "orders"]) == values


async def test_what_was_gone_through_is_not_read_again(tmp_path: Path) -> None:
    base = MemoryStore()
    await filled(stack().encrypt(OLD).over(base), 100)
    store = stack().encrypt(NEW).statistics().over(base)

    def interrupt(progress: Progress) -> None:
        if progress.report.seen == 250:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rewrite(store, batch=50, progress=interrupt, resume=tmp_path / "state")
    store.find(Statistics).reset()
    await rewrite(store, batch=50, resume=tmp_path / "state")
    assert store.find(Statistics).snapshot().reads.keys == 50


async def test_a_state_of_another_rewrite_is_not_gone_on_with(tmp_path: Path) -> None:
    base = MemoryStore()
    await filled(stack().encrypt(OLD).over(base), 20)
    states: list[Any] = []
    await rewrite(
        stack().encrypt(NEW).over(base), progress=lambda progress: states.append(progress.state)
    )
    newest = NEW.with_key("newest").promoted("newest")
    report = await rewrite(stack().encrypt(newest).over(base), resume=states[-1])
    assert report.rewritten == 60
    dry = await rewrite(stack().encrypt(NEW).over(base), resume=states[-1], dry_run=True)
    assert dry.seen == 60


@pytest.mark.parametrize("text", ["", "[]", '{"target": 1}', "not json"])
async def test_files_that_hold_no_state(tmp_path: Path, text: str) -> None:
    (tmp_path / "state").write_text(text)
    with pytest.raises(ConfigurationError, match="not the state of a rewrite"):
        await rewrite(stack().encrypt(NEW).over(MemoryStore()), resume=tmp_path / "state")


async def test_named_collections_only() -> None:
    base = MemoryStore()
    await filled(stack().prefix_collection("app-").encrypt(OLD).over(base), 10)
    store = stack().prefix_collection("app-").encrypt(NEW).over(base)
    report = await rewrite(store, collections=["users", None])
    assert report.rewritten == 20
    assert not report.complete
    assert report.retirable == []
    assert "not complete" in str(report)


class Weak(MemoryStore):
    """Cannot compare versions."""

    capabilities = MemoryStore.capabilities - {Capability.COMPARE_AND_PUT}

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        assert expected is None
        return await super().write(collection, keys, entries)


async def test_stores_that_cannot_compare_need_to_be_alone() -> None:
    base = Weak()
    await stack().encrypt(OLD).over(base).put("k", 1)
    store = stack().encrypt(NEW).over(base)
    with pytest.raises(UnsupportedOperation, match="exclusive=True"):
        await rewrite(store)
    assert (await rewrite(store, dry_run=True)).rewritten == 1
    assert (await rewrite(store, exclusive=True)).keys == {"new": 1}
    assert await store.get("k") == 1


async def test_keys_that_cannot_be_enumerated() -> None:
    class Blind(MemoryStore):
        capabilities = frozenset({Capability.COMPARE_AND_PUT})

    with pytest.raises(UnsupportedOperation, match="enumerate its keys"):
        await rewrite(stack().encrypt(NEW).over(Blind()))


@pytest.mark.parametrize("collections", [False, True])
async def test_hashed_names_are_gone_through_as_they_are(collections: bool) -> None:
    base = MemoryStore()

    def named(keyring: Keyring) -> Store:
        hashed = (
            stack().prefix_collection("p-").hash_keys(b"0123456789abcdef", collections=collections)
        )
        return hashed.encrypt(keyring).over(base)

    await named(OLD).put_many(["a", "b"], [1, 2], collection="users")
    report = await rewrite(named(NEW))
    assert report.keys == {"new": 2}
    assert await named(NEW.retired("old")).get_many(["a", "b"], collection="users") == [1, 2]
    if collections:
        with pytest.raises(ConfigurationError, match="cannot be followed"):
            await rewrite(named(NEW), collections=["users"])
    else:
        assert (await rewrite(named(NEW), collections=["users"])).current == 2


async def test_nothing_to_rewrite() -> None:
    with pytest.raises(ConfigurationError, match="no layer of this stack changes bytes"):
        await rewrite(stack().statistics().over(MemoryStore()))
    with pytest.raises(ConfigurationError, match="batch"):
        await rewrite(stack().encrypt(NEW).over(MemoryStore()), batch=0)


async def test_one_at_a_time_and_free_again_after_a_cancellation() -> None:
    base = MemoryStore()
    await stack().encrypt(OLD).over(base).put("k", 1)
    store = stack().encrypt(NEW).layer(Meddler()).over(base)
    gate = asyncio.Event()
    store.find(Meddler).act = gate.wait
    first = asyncio.create_task(rewrite(store))
    await ManualClock.settle()
    with pytest.raises(ConfigurationError, match="under way"):
        await rewrite(store)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await rewrite(store)).rewritten == 1


async def test_a_backend_that_fails_is_no_failure_of_an_entry(tmp_path: Path) -> None:
    base = MemoryStore()
    await filled(stack().encrypt(OLD).over(base), 50)
    store = stack().encrypt(NEW).layer(Meddler()).over(base)

    async def fail() -> None:
        raise StoreUnavailable("gone")

    def arm(progress: Progress) -> None:
        if progress.report.seen == 100:
            store.find(Meddler).act = fail

    with pytest.raises(StoreUnavailable):
        await rewrite(store, batch=25, progress=arm, resume=tmp_path / "state")
    report = await rewrite(store, batch=25, resume=tmp_path / "state")
    assert (report.seen, report.rewritten, report.failed) == (150, 150, 0)


# -- the command line ----------------------------------------------------------------------


def config(tmp_path: Path) -> str:
    path = tmp_path / "store.toml"
    path.write_text(
        f"""
        store = "sqlite:///{tmp_path}/store.db"

        [[layers]]
        type = "encrypt"
        keyring = {{ env = "TEST_REWRITE_KEYS" }}
        """
    )
    return str(path)


def test_rewriting_by_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "store.db"

    async def fill() -> None:
        async with stack().encrypt(OLD).over(SQLiteStore(path)) as store:
            await filled(store, 10)
            await store.put("k", 1, collection="x")

    asyncio.run(fill())
    monkeypatch.setenv("TEST_REWRITE_KEYS", NEW.reveal_text())
    assert main(["inspect", config(tmp_path), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "31 would be rewritten" in out
    assert "old: 31" in out
    state = str(tmp_path / "state")
    arguments = ["rewrite", config(tmp_path), "--batch", "3", "--state", state]
    assert main([*arguments, "--collection", "users", "--collection", ""]) == 0
    assert "20 rewritten" in capsys.readouterr().out
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "11 rewritten" in out
    assert "not needed    old" in out


def test_commands_that_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fill() -> None:
        async with SQLiteStore(tmp_path / "store.db") as store:
            await store.put("plain", 1)

    asyncio.run(fill())
    monkeypatch.setenv("TEST_REWRITE_KEYS", NEW.reveal_text())
    assert main(["rewrite", config(tmp_path)]) == 1
    assert "'plain'" in capsys.readouterr().out
    monkeypatch.delenv("TEST_REWRITE_KEYS")
    assert main(["rewrite", config(tmp_path)]) == 2
    assert "TEST_REWRITE_KEYS" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["rewrite"])


def test_a_new_key_by_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen", "2026-11", "--algorithm", "chacha20-poly1305"]) == 0
    keyring = Keyring.from_text(capsys.readouterr().out)
    assert keyring.primary == "2026-11"
    assert keyring.algorithm("2026-11") == "chacha20-poly1305"
    main(["keygen", "2026-11"])
    assert Keyring.from_text(capsys.readouterr().out) != keyring
