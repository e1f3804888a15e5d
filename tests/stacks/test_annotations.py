"""An annotation that no layer of the stack knows, in front of any step: skipped and preserved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from kvwrap import (
    Compression,
    CorruptEntry,
    DecryptionError,
    Encryption,
    Keyring,
    MemoryStore,
    Passthrough,
    SQLiteStore,
    Stack,
    Store,
    rewrite,
    stack,
)
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.integrations.fernet import FernetTokens
from kvwrap.layers.replication import Replication
from kvwrap.layers.sharding.moving import is_claim
from kvwrap.testing import ManualClock
from tests.layers.compression.sample_records import records

pytestmark = pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")

KEYS, OTHER = Keyring.generate("k"), Keyring.generate("other")
MARK = codec.annotation(0x7F, codec.fingerprint("another.package") + b"data")
STRANGE = codec.annotation(0x60)
VALUE = records(1)[0]


async def annotate(base: Store, collection: str | None = None) -> None:
    """Put annotations in front of every entry, as a layer that is gone would have."""
    keys = await base.keys(collection)
    for key, entry in zip(keys, await base.read(collection, keys)):
        assert entry is not None
        steps = STRANGE + MARK + entry.codec
        await base.write(collection, [key], [entry.with_body(entry.body, steps)])


async def at_rest(base: Store, key: str = "k") -> list[bytes]:
    (entry,) = await base.read(None, [key])
    assert entry is not None
    return codec.steps(entry.codec)


STACKS: dict[str, Callable[[], Stack]] = {
    "nothing": stack,
    "msgpack": lambda: stack().serialize("msgpack"),
    "compress": lambda: stack().compress(),
    "gzip": lambda: stack().compress("gzip"),
    "encrypt": lambda: stack().encrypt(KEYS),
    "compress and encrypt": lambda: stack().compress().encrypt(KEYS, context=b"c"),
    "fetched keys": lambda: stack().encrypt(Keyring.from_callable(lambda: KEYS)),
    "replicate": lambda: stack().compress().replicate([MemoryStore]),
    "decode near": lambda: stack().read_through(MemoryStore, ttl=60).compress(),
}


@pytest.mark.parametrize("name", STACKS)
async def test_it_is_skipped_by_every_reader_and_kept(name: str, clock: ManualClock) -> None:
    base = MemoryStore(clock=clock)
    store = STACKS[name]().over(base)
    await store.put("k", VALUE, ttl=100)
    await annotate(base)
    fresh = STACKS[name]().over(base)
    for _ in range(2):  # from the far and the near store, if there is one
        assert await fresh.get("k") == VALUE
        assert (await fresh.ttl("k"))[0] == VALUE
        assert await fresh.get_many(["k"]) == [VALUE]
    assert await fresh.expire("k", 50)
    assert (await fresh.ttl("k"))[1] == pytest.approx(50, abs=0.01)
    if name != "replicate":
        assert {MARK, STRANGE} <= set(await at_rest(base))
    assert await fresh.move("k", "l")
    assert await fresh.get("l") == VALUE
    clock.advance(51)
    assert await fresh.get("l") is None
    assert await fresh.keys() == []


@pytest.mark.parametrize("name", ["compress", "encrypt", "compress and encrypt"])
async def test_what_is_current_is_not_rewritten_for_its_sake(name: str) -> None:
    base = MemoryStore()
    await STACKS[name]().over(base).put("k", VALUE)
    await annotate(base)
    before = await base.read(None, ["k"])
    report = await rewrite(STACKS[name]().over(base))
    assert (report.current, report.rewritten, report.failed) == (1, 0, 0)
    assert await base.read(None, ["k"]) == before


async def test_a_rewrite_keeps_it() -> None:
    base = MemoryStore()
    both = Keyring({"k": b"k" * 32, "other": b"o" * 32}, primary="k")
    await stack().compress("gzip").encrypt(Keyring({"other": b"o" * 32})).over(base).put("k", VALUE)
    await annotate(base)
    store = stack().compress("zstd", accept=["gzip"]).encrypt(both).over(base)
    report = await rewrite(store)
    assert (report.rewritten, report.failed) == (1, 0)
    steps = await at_rest(base)
    assert {MARK, STRANGE, codec.ZSTD} <= set(steps)
    assert await store.get("k") == VALUE
    assert (await rewrite(store)).current == 1


async def test_entries_of_a_dictionary_are_read() -> None:
    base = MemoryStore()
    store = stack().compress(dictionaries=True).over(base)
    await store.find(Compression).train(samples=records(500))
    await store.put("k", VALUE)
    await annotate(base)
    fresh = stack().compress().over(base)
    assert await fresh.get("k") == VALUE


async def test_the_sealed_expiry_behind_it_holds(clock: ManualClock) -> None:
    base = MemoryStore(clock=clock)
    store = stack().encrypt(KEYS).over(base)
    await store.put("k", VALUE, ttl=10)
    (entry,) = await base.read(None, ["k"])
    assert entry is not None
    forged = Entry(entry.body, MARK + entry.codec, entry.created_at, None, entry.version)
    await base.write(None, ["k"], [forged])
    assert await store.get("k") == VALUE
    clock.advance(11)
    assert await store.get("k") is None
    assert await store.keys() == []
    assert await store.delete("k") is False


async def test_it_does_not_pass_ciphertext_off_as_plaintext(clock: ManualClock) -> None:
    base = MemoryStore(clock=clock)
    await stack().encrypt(OTHER).over(base).put("k", VALUE, ttl=10)
    (sealed,) = await base.read(None, ["k"])
    assert sealed is not None
    store = stack().encrypt(KEYS, accept_plaintext=True).over(base)
    without_step = sealed.codec[5:]
    for steps, problem in (
        (MARK + sealed.codec, "which the keyring does not have"),
        (MARK + without_step, "its header says that it is not"),
        (without_step, "its header says that it is not"),
    ):
        await base.write(None, ["k"], [sealed.with_body(sealed.body, steps)])
        with pytest.raises(DecryptionError, match=problem):
            await store.get("k")


async def test_legacy_readers_skip_and_keep_it() -> None:
    key, base = Fernet.generate_key(), MemoryStore()
    token = Fernet(key).encrypt(b'{"n":1}')
    await base.write(None, ["k"], [Entry(token, MARK + codec.BYTES, 0.0, None, 1)])
    store = stack().encrypt(KEYS, legacy=[FernetTokens(key)]).over(base)
    assert await store.get("k") == {"n": 1}
    report = await rewrite(store)
    assert (report.rewritten, report.failed) == (1, 0)
    assert MARK in await at_rest(base)
    assert await stack().encrypt(KEYS).over(base).get("k") == {"n": 1}


async def test_near_copies_with_it_are_used(tmp_path: Path) -> None:
    far = MemoryStore()
    reads: list[Any] = []

    class Counted(Passthrough):
        async def read(self, collection: str | None, keys: Sequence[str]) -> list[Entry | None]:
            reads.append(keys)
            return list(await self.inner.read(collection, keys))

    async with SQLiteStore(tmp_path / "near.db") as near:
        layers = stack().read_through(near, ttl=60, negative_ttl=60)
        async with layers.layer(Counted()).over(far) as store:
            await store.put("k", VALUE)
            assert await store.get("k") == VALUE
            assert await store.get("missing") is None
            await annotate(near)
            reads.clear()
            assert await store.get("k") == VALUE
            assert await store.get("missing") is None
            assert reads == []


async def test_dates_and_tombstones_of_replicas_are_found() -> None:
    replicas = [MemoryStore() for _ in range(3)]
    store = Replication(replicas[1:]).over(replicas[0])
    await store.put("k", "old")
    await store.put("gone", 1)
    await store.delete("gone")
    for replica in replicas[:2]:
        await annotate(replica)
    assert await store.get("k") == "old"
    assert await store.get("gone") is None
    assert await store.keys() == ["k"]
    await store.put("k", "new")
    assert await store.get("k") == "new"


async def test_a_step_that_is_unknown_is_not_skipped() -> None:
    base = MemoryStore()
    steps = MARK + codec.step(codec.OTHER_STEP, b"abcd") + codec.JSON
    await base.write(None, ["k"], [Entry(b"1", steps, 0.0, None, 1)])
    for layers in (stack(), stack().compress()):
        with pytest.raises(CorruptEntry, match="step 0x9f"):
            await layers.over(base).get("k")
    assert stack().encrypt(KEYS).over(base).find(Encryption).primary == "k"


def test_a_claim_of_a_moving_key_is_recognized() -> None:
    claim = codec.step(codec.OTHER_STEP, codec.fingerprint("kvwrap.claim"))
    assert is_claim(Entry(b"", claim, 0.0, None, 1))
    assert is_claim(Entry(b"", MARK + claim, 0.0, None, 1))
    assert not is_claim(Entry(b"", MARK + codec.JSON, 0.0, None, 1))
