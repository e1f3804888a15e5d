"""Sealed expiry: no entry lives longer than its writer said, whatever its header says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from kvwrap import (
    Capability,
    ConfigurationError,
    DecryptionError,
    Keyring,
    MemoryStore,
    SQLiteStore,
    Stack,
    Store,
    adapt,
    rewrite,
    stack,
)
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.layers.encryption.sealing import STEP_LENGTH
from kvwrap.stores.redis import RedisStore
from kvwrap.testing import ManualClock
from tests.layers.faulty import FaultyStore
from tests.layers.without_capabilities import WithoutCapabilities

KEYS = Keyring.generate("k")


def encrypted() -> Stack:
    return stack().encrypt(KEYS)


@pytest.fixture(params=["memory", "sqlite", "mapping", "redis"])
async def base(
    request: Any, clock: ManualClock, tmp_path: Path, redis_url: str
) -> AsyncIterator[Store]:
    made: dict[str, Callable[[], Store]] = {
        "memory": lambda: MemoryStore(clock=clock),
        "sqlite": lambda: SQLiteStore(tmp_path / "entries.db", clock=clock),
        "mapping": lambda: adapt({}, clock=clock),
        "redis": lambda: RedisStore(redis_url, namespace=request.node.name, clock=clock),
    }
    async with made[request.param]() as store:
        yield store
        await store.destroy()


async def prolong(base: Store, key: str, expires_at: float | None = None) -> Entry:
    """Change the expiry in the header, as the owner of the backend can."""
    (entry,) = await base.read(None, [key])
    assert entry is not None
    await base.write(None, [key], [entry.with_expiry(expires_at)])
    return entry


async def outlived(base: Store, clock: ManualClock, *keys: str) -> Store:
    """Return an encrypted store whose entries have outlived their sealed expiry."""
    store = encrypted().over(base)
    for key in keys:
        await store.put(key, key, ttl=60)
        await prolong(base, key)
    clock.advance(61)
    await store.put("alive", 1, ttl=60)
    return store


async def test_a_prolonged_entry_is_dead_when_it_was_to_be(base: Store, clock: ManualClock) -> None:
    store = encrypted().over(base)
    await store.put("k", "v", ttl=60)
    await prolong(base, "k")
    assert (await store.ttl("k"))[1] == pytest.approx(60, abs=0.01)
    clock.advance(59)
    assert await store.get("k") == "v"
    clock.advance(1)
    assert await store.get("k") is None
    assert await store.ttl("k") == (None, None)
    assert not await store.exists("k")


async def test_an_entry_put_back_from_a_backup_is_dead(base: Store, clock: ManualClock) -> None:
    store = encrypted().over(base)
    await store.put("k", "v", ttl=60)
    backup = await prolong(base, "k")
    await store.delete("k")
    clock.advance(3600)
    await base.write(None, ["k"], [backup.with_expiry(clock.time() + 60)])
    assert await store.get("k") is None


async def test_listings_leave_it_out(base: Store, clock: ManualClock) -> None:
    store = await outlived(base, clock, "a", "b")
    assert sorted(await base.keys()) == ["a", "alive", "b"]
    assert await store.keys() == ["alive"]
    assert [item async for item in store.items()] == [("alive", 1)]


async def test_put_if_absent_and_increment_replace_it(base: Store, clock: ManualClock) -> None:
    store = await outlived(base, clock, "a", "b")
    assert await store.put_if_absent("a", "new", ttl=60)
    assert not await store.put_if_absent("a", "newer")
    assert await store.increment("b", initial=10) == 11
    assert await store.get_many(["a", "b"]) == ["new", 11]


async def test_delete_and_expire_report_no_entry(base: Store, clock: ManualClock) -> None:
    store = await outlived(base, clock, "a", "b", "c")
    assert not await store.expire("a", 600)
    assert not await store.delete("a")
    assert await store.pop("b") is None
    assert not await store.move("b", "d")
    assert await store.delete_many(["b", "c", "alive"]) == 1


async def test_cull_frees_it(base: Store, clock: ManualClock) -> None:
    store = await outlived(base, clock, "a", "b")
    await store.cull()
    assert await base.keys() == ["alive"]


async def test_a_rewrite_does_not_revive_it(base: Store, clock: ManualClock) -> None:
    await outlived(base, clock, "a")
    added = KEYS.with_key("new").promoted("new")
    store = stack().encrypt(added).over(base)
    report = await rewrite(store)
    assert (report.rewritten, report.failed) == (1, 0)
    assert await store.get("a") is None


async def test_an_earlier_expiry_in_the_header_holds(base: Store, clock: ManualClock) -> None:
    store = encrypted().over(base)
    for ttl in (60, None):
        await store.put("k", "v", ttl=ttl)
        await prolong(base, "k", clock.time() + 5)
        assert (await store.ttl("k"))[1] == pytest.approx(5, abs=0.01)
        clock.advance(5)
        assert await store.get("k") is None


async def test_a_sealed_expiry_cannot_be_altered(base: Store, clock: ManualClock) -> None:
    store = encrypted().over(base)
    await store.put("k", "v", ttl=60)
    (entry,) = await base.read(None, ["k"])
    assert entry is not None
    later = codec.annotation(codec.SEALED_EXPIRY, (2**47).to_bytes(6, "big"))
    for steps in (
        entry.codec[:5] + later + entry.codec[14:],
        entry.codec[:5] + entry.codec[14:],
    ):
        await base.write(None, ["k"], [Entry(entry.body, steps, entry.created_at, None, 1)])
        with pytest.raises(DecryptionError):
            await store.get("k")


@pytest.mark.parametrize("keys", [KEYS, Keyring.generate("other")], ids=["known", "unknown"])
async def test_what_a_header_says_is_not_encrypted_is_refused_all_the_same(
    clock: ManualClock, keys: Keyring
) -> None:
    base = MemoryStore(clock=clock)
    await encrypted().over(base).put("k", 1, ttl=60)
    (entry,) = await base.read(None, ["k"])
    assert entry is not None
    await base.write(None, ["k"], [entry.with_body(entry.body, entry.codec[STEP_LENGTH:])])
    migrating = stack().encrypt(keys, accept_plaintext=True).silence("migration-open")
    with pytest.raises(DecryptionError, match="the header was altered"):
        await migrating.over(base).get("k")


async def test_a_sealed_expiry_in_fractions_of_a_millisecond_is_that_of_the_header(
    clock: ManualClock,
) -> None:
    base = MemoryStore(clock=clock)
    store = encrypted().over(base)
    for _ in range(10):
        clock.advance(0.0003)
        await store.put("k", 1, ttl=60)
        (entry,), (sealed,) = await store.read(None, ["k"]), await base.read(None, ["k"])
        assert entry is not None
        assert sealed is not None
        assert entry.expires_at == sealed.expires_at


async def test_the_creation_time_cannot_be_altered(base: Store, clock: ManualClock) -> None:
    store = encrypted().over(base)
    await store.put("k", "v")
    (entry,) = await base.read(None, ["k"])
    assert entry is not None
    later = entry.created_at + 1
    await base.write(None, ["k"], [Entry(entry.body, entry.codec, later, None, 1)])
    with pytest.raises(DecryptionError):
        await store.get("k")


# -- new expiry times ----------------------------------------------------------------------


async def test_expire_seals_the_new_expiry(base: Store, clock: ManualClock) -> None:
    store = encrypted().over(base)
    await store.put("k", "v", ttl=60)
    assert await store.expire("k", 600)
    clock.advance(599)
    assert (await store.ttl("k"))[1] == pytest.approx(1, abs=0.01)
    assert await store.expire("k", None)
    clock.advance(3600)
    assert await store.ttl("k") == ("v", None)
    assert await store.expire("k", 5)
    await prolong(base, "k")
    clock.advance(5)
    assert await store.get("k") is None


async def test_increment_keeps_the_expiry_exactly(base: Store, clock: ManualClock) -> None:
    clock.advance(0.000_123)
    store, bare = encrypted().over(base), MemoryStore(clock=clock)
    for each in (store, bare):
        await each.increment("n", ttl=60)
        await each.increment("n")
    clock.advance(59.999)
    assert await store.get("n") == await bare.get("n") == 2
    clock.advance(0.001)
    assert await store.get("n") is await bare.get("n") is None


async def test_move_keeps_the_sealed_expiry(base: Store, clock: ManualClock) -> None:
    store = encrypted().over(base)
    await store.put("k", "v", ttl=60)
    assert await store.move("k", "moved")
    await prolong(base, "moved")
    clock.advance(61)
    assert await store.get("moved") is None


async def racing_write(compares: bool, clock: ManualClock) -> Any:
    """Return what is stored after a put between the reading and the writing of `expire`."""

    class Racing(FaultyStore):
        after_read: Callable[[], Awaitable[None]] | None = None

        async def read(self, *arguments: Any) -> list[Entry | None]:
            entries = await super().read(*arguments)
            if self.after_read is not None:
                action, self.after_read = self.after_read, None
                await action()
            return entries

    base = Racing(clock=clock)
    lost = () if compares else (Capability.COMPARE_AND_PUT,)
    store = encrypted().layer(WithoutCapabilities(*lost)).over(base)
    await store.put("k", "old", ttl=60)
    base.after_read = lambda: store.put("k", "new", ttl=60)
    assert await store.expire("k", 600)
    assert (await store.ttl("k"))[1] == 600
    return await store.get("k")


async def test_expire_loses_no_write_where_versions_compare(clock: ManualClock) -> None:
    assert await racing_write(True, clock) == "new"
    assert await racing_write(False, clock) == "old"  # as the page says


async def test_expire_of_an_entry_that_does_not_open_changes_nothing(clock: ManualClock) -> None:
    base = MemoryStore(clock=clock)
    await encrypted().over(base).put("k", "v", ttl=60)
    (before,) = await base.read(None, ["k"])
    with pytest.raises(DecryptionError):
        await stack().encrypt(Keyring.generate("other")).over(base).expire("k", 600)
    assert await base.read(None, ["k"]) == [before]


async def test_expire_counts_as_a_message(clock: ManualClock) -> None:
    store = stack().encrypt(Keyring.generate("k"), message_limit=1).over(MemoryStore(clock=clock))
    await store.put("k", "v", ttl=60)
    with pytest.raises(ConfigurationError, match="limit"):
        await store.expire("k", 600)
    assert (await store.ttl("k"))[1] == 60


# -- what users do not pay -----------------------------------------------------------------


async def test_operations_on_single_keys_take_no_further_calls(backend: FaultyStore) -> None:
    store = encrypted().over(backend)
    await store.put("k", 1, ttl=60)
    await store.get("k")
    await store.put_if_absent("new", 1)
    await store.increment("new")
    await store.pop("new")
    assert [name for name, _, _ in backend.calls] == [
        *("write", "read", "write"),
        *("read", "write"),
        *("read", "remove"),
    ]


async def test_removals_and_refused_conditions_read_first(backend: FaultyStore) -> None:
    store = encrypted().over(backend)
    await store.put("k", 1, ttl=60)
    backend.calls.clear()
    await store.delete("k")
    await store.put("k", 1)
    await store.put_if_absent("k", 1)
    assert [name for name, _, _ in backend.calls] == [
        *("read", "remove"),
        "write",
        *("write", "read", "read"),  # for a sealed expiry that is over, and for a stale value
    ]


async def test_destroying_removes_hidden_entries_too(clock: ManualClock) -> None:
    base = MemoryStore(clock=clock)
    store = stack().prefix_key("p-").encrypt(KEYS).over(base)
    await store.put("k", "v", ttl=60)
    await prolong(base, "p-k")
    clock.advance(61)
    await store.destroy()
    assert len(base) == 0
