"""Encryption: what opens, what does not, and what it costs at rest."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Mapping
from typing import Any

import pytest
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from kvwrap import (
    ConfigurationError,
    CorruptEntry,
    DecryptionError,
    Encryption,
    EnvelopeKeyring,
    Key,
    Keyring,
    LocalKEK,
    MemoryStore,
    SerializationError,
    StackWarning,
    Store,
    StoreUnavailable,
    ValueTooLarge,
    rewrite,
    stack,
)
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection
from kvwrap.integrations.py_key_value import PyKeyValueCompression
from kvwrap.layers.encryption import _bound
from kvwrap.testing import ManualClock

RING = Keyring({"k1": b"1" * 32})
ALGORITHMS = ("aes-256-gcm", "chacha20-poly1305", "aes-256-gcm-siv")

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
places = st.tuples(st.none() | names, names)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=8,
)


async def entry_in(backend: Store, key: str = "k", collection: Collection = None) -> Entry:
    found = (await backend.read(collection, [key]))[0]
    assert found is not None
    return found


async def sealed(keyring: Keyring, value: Any, place: tuple[Collection, str]) -> Entry:
    """The entry at rest that this value becomes."""
    backend = MemoryStore()
    await stack().encrypt(keyring).over(backend).put(place[1], value, collection=place[0])
    return await entry_in(backend, place[1], place[0])


async def opened(keyring: Keyring, entry: Entry, place: tuple[Collection, str]) -> Any:
    """What a stack with this keyring makes of that entry."""
    backend = MemoryStore()
    await backend.write(place[0], [place[1]], [entry])
    return await stack().encrypt(keyring).over(backend).require(place[1], collection=place[0])


# -- what comes back -----------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_values_come_back_and_do_not_lie_open(algorithm: Any) -> None:
    backend = MemoryStore()
    store = stack().encrypt(Keyring.generate("k", algorithm=algorithm)).over(backend)
    await store.put_many(["a", "b"], [{"secret": "in the open"}, {"secret": 2}], ttl=60)
    assert await store.get_many(["b", "a"]) == [{"secret": 2}, {"secret": "in the open"}]
    for key in ("a", "b"):
        assert b"secret" not in (await entry_in(backend, key)).body
    assert (await store.ttl("a"))[1] == pytest.approx(60, abs=1)


async def test_the_same_value_never_lies_there_twice_alike() -> None:
    backend = MemoryStore()
    store = stack().encrypt(RING).over(backend)
    bodies = set()
    for _ in range(100):
        await store.put("k", {"n": 1})
        bodies.add((await entry_in(backend)).body)
    assert len({body[:12] for body in bodies}) == 100


@settings(max_examples=60)
@given(values, places, st.lists(st.sampled_from("abcd"), max_size=5))
def test_any_value_comes_back_through_any_rotation(
    value: Any, place: tuple[Collection, str], promotions: list[str]
) -> None:
    async def check() -> None:
        backend = MemoryStore()
        keyring = RING
        await stack().encrypt(keyring).over(backend).put(place[1], value, collection=place[0])
        for name in promotions:
            if name not in keyring.names:
                keyring = keyring.with_key(name)
            keyring = keyring.promoted(name)
            store = stack().encrypt(keyring).over(backend)
            assert await store.require(place[1], collection=place[0]) == value
            await store.put(place[1], value, collection=place[0])
            assert (await entry_in(backend, place[1], place[0])).codec[1:5].hex() == keyring.ids[
                name
            ]

    asyncio.run(check())


async def test_an_entry_made_by_hand_reads(clock: ManualClock) -> None:
    """The format, written down a second time: another language would do just this."""
    backend = MemoryStore(clock=clock)
    collection, key, plain = "users", "ada", b'{"n":1}'
    steps = b"\x98" + RING_ID + b"\x01"
    bound = b"\x01" + b"\x01" + b"\x00\x00\x00\x05users" + b"\x00\x00\x00\x03ada" + steps
    nonce = os.urandom(12)
    body = nonce + AESGCM(b"1" * 32).encrypt(nonce, plain, bound)
    await backend.write(collection, [key], [Entry(body, steps, clock.time(), None, 7)])
    store = stack().encrypt(RING).over(backend)
    assert await store.get(key, collection=collection) == {"n": 1}


RING_ID = codec.fingerprint("k1")


async def test_overhead_at_rest_is_at_most_64_bytes() -> None:
    value = {"text": "the same words over and over " * 500}
    compressed = len(zstandard.ZstdCompressor(level=3).compress(json.dumps(value).encode()))
    backend = MemoryStore()
    store = stack().compress().encrypt(RING).over(backend)
    await store.put("k", value, collection="c", ttl=60)
    at_rest = len((await entry_in(backend, "k", "c")).to_bytes("c", "k"))
    assert at_rest - compressed <= 64


# -- what does not open --------------------------------------------------------------------


@settings(max_examples=60)
@given(st.data())
def test_any_flipped_bit_at_rest_is_found(data: st.DataObject) -> None:
    place = data.draw(places)

    async def check() -> None:
        rest = bytearray((await sealed(RING, {"n": 1}, place)).to_bytes(*place))
        bit = data.draw(st.integers(0, len(rest) * 8 - 1))
        rest[bit // 8] ^= 1 << bit % 8
        with pytest.raises((CorruptEntry, DecryptionError)):
            await opened(RING, Entry.from_bytes(bytes(rest), *place, "test"), place)

    asyncio.run(check())


@settings(max_examples=60)
@given(st.data())
def test_a_flipped_bit_is_found_by_encryption_alone(data: st.DataObject) -> None:
    """As by somebody who mends the checksum: body and codec are bound by the tag."""

    async def check() -> None:
        entry = await sealed(RING, {"n": 1}, (None, "k"))
        field = data.draw(st.sampled_from(["body", "codec"]))
        altered = bytearray(getattr(entry, field))
        bit = data.draw(st.integers(0, len(altered) * 8 - 1))
        altered[bit // 8] ^= 1 << bit % 8
        body, steps = (
            (bytes(altered), entry.codec) if field == "body" else (entry.body, bytes(altered))
        )
        with pytest.raises(DecryptionError):
            await opened(RING, entry.with_body(body, steps), (None, "k"))

    asyncio.run(check())


@settings(max_examples=100)
@given(places, places)
def test_an_entry_opens_in_no_other_place(
    here: tuple[Collection, str], there: tuple[Collection, str]
) -> None:
    async def check() -> None:
        entry = await sealed(RING, {"n": 1}, here)
        if here == there:
            assert await opened(RING, entry, there) == {"n": 1}
            return
        with pytest.raises(DecryptionError, match="another name"):
            await opened(RING, entry, there)

    asyncio.run(check())


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ((None, "ab"), ("a", "b")),
        (("ab", "c"), ("a", "bc")),
        (("a", "k"), (None, "k")),
        (("\x00", "k"), (None, "\x00k")),
    ],
)
async def test_names_that_run_together_are_told_apart(here: Any, there: Any) -> None:
    assert _bound(*here, b"\x01") != _bound(*there, b"\x01")
    with pytest.raises(DecryptionError):
        await opened(RING, await sealed(RING, 1, here), there)


@given(places, st.binary(max_size=8), places, st.binary(max_size=8))
def test_no_two_places_are_bound_alike(
    here: tuple[Collection, str], a: bytes, there: tuple[Collection, str], b: bytes
) -> None:
    assert (_bound(*here, a) == _bound(*there, b)) == ((here, a) == (there, b))


@pytest.mark.parametrize("length", [0, 11, 12, 27, 28, 40])
async def test_truncated_bodies(length: int) -> None:
    entry = await sealed(RING, {"text": "some words"}, (None, "k"))
    assert len(entry.body) > 40
    with pytest.raises(DecryptionError):
        await opened(RING, entry.with_body(entry.body[:length], entry.codec), (None, "k"))


async def test_an_unknown_key_is_named_by_its_id() -> None:
    entry = await sealed(Keyring({"other": b"2" * 32}), 1, (None, "k"))
    with pytest.raises(DecryptionError, match=codec.fingerprint("other").hex()) as caught:
        await opened(RING, entry, (None, "k"))
    assert "'k1'" in str(caught.value)
    assert caught.value.key == "k"
    assert caught.value.store == "Encryption"


async def test_another_key_of_the_same_name() -> None:
    entry = await sealed(Keyring({"k1": b"2" * 32}), 1, (None, "k"))
    with pytest.raises(DecryptionError, match="'k1'"):
        await opened(RING, entry, (None, "k"))


async def test_the_keyring_chooses_the_algorithm_not_the_data() -> None:
    entry = await sealed(Keyring({"k1": Key(b"1" * 32)}), 1, (None, "k"))
    other = Keyring({"k1": Key(b"1" * 32, algorithm="chacha20-poly1305")})
    with pytest.raises(DecryptionError):
        await opened(other, entry, (None, "k"))


async def test_errors_show_neither_keys_nor_values() -> None:
    entry = await sealed(RING, {"secret": "hush"}, (None, "k"))
    for broken in (
        entry.with_body(entry.body[:-1], entry.codec),
        entry.with_body(b'{"secret": "hush"}', b"\x01"),
        entry.with_body(entry.body, b"\x98abcd\x01"),
    ):
        with pytest.raises(DecryptionError) as caught:
            await opened(RING, broken, (None, "k"))
        assert "hush" not in str(caught.value)
        assert "1111" not in repr(caught.value)
        assert caught.value.__cause__ is None


# -- plaintext -----------------------------------------------------------------------------


async def test_plaintext_is_refused() -> None:
    backend = MemoryStore()
    await backend.put("k", {"n": 1})
    store = stack().encrypt(RING).over(backend)
    with pytest.raises(DecryptionError, match="not encrypted"):
        await store.get("k")


async def test_plaintext_is_read_while_a_migration_is_open() -> None:
    backend = MemoryStore()
    await backend.put("k", {"n": 1})
    with pytest.warns(StackWarning, match="migration-open"):
        store = stack().encrypt(RING, accept_plaintext=True).over(backend)
    assert await store.get("k") == {"n": 1}
    await store.put("k", {"n": 2})
    assert await store.get("k") == {"n": 2}
    assert (await entry_in(backend)).codec[0] == codec.ENCRYPTED


async def test_an_open_migration_hides_no_broken_entry() -> None:
    entry = await sealed(RING, {"n": 1}, (None, "k"))
    backend = MemoryStore()
    await backend.write(None, ["k"], [entry.with_body(entry.body[:-1], entry.codec)])
    await backend.write(None, ["unknown"], [entry.with_body(entry.body, b"\x98abcd\x01")])
    store = stack().encrypt(RING, accept_plaintext=True).silence("migration-open").over(backend)
    for key in ("k", "unknown"):
        with pytest.raises(DecryptionError):
            await store.get(key)


async def test_a_failed_batch_writes_nothing() -> None:
    backend = MemoryStore()
    store = stack().encrypt(RING).over(backend)
    with pytest.raises(SerializationError):
        await store.put_many(["a", "b"], [{"n": 1}, {"n": object()}])
    assert len(backend) == 0


async def test_messages_over_two_gigabytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    store = stack().encrypt(Keyring.generate("k")).over(MemoryStore())
    sealing = store.find(Encryption)._sealing

    def too_long(*_: object) -> bytes:
        raise OverflowError

    monkeypatch.setattr(sealing, "_encrypt", too_long)
    with pytest.raises(ValueTooLarge, match="2 GiB"):
        await store.put("k", {"n": 1})


# -- how often -----------------------------------------------------------------------------


async def test_a_key_is_refused_when_it_is_used_up() -> None:
    backend = MemoryStore()
    keyring = Keyring.generate("a")
    store = stack().encrypt(keyring, message_limit=3).over(backend)
    for n in range(3):
        await store.put("k", {"n": n})
    with pytest.raises(ConfigurationError, match="'a' has sealed 3 messages"):
        await store.put("k", {"n": 3})
    assert await store.get("k") == {"n": 2}
    promoted = stack().encrypt(keyring.with_key("b").promoted("b"), message_limit=3).over(backend)
    await promoted.put("k", {"n": 3})
    assert promoted.find(Encryption).messages == {"a": 3, "b": 1}


async def test_messages_are_counted_by_key_whichever_store_wrote_them() -> None:
    keyring = Keyring.generate("a")
    stores = [stack().encrypt(keyring).over(MemoryStore()) for _ in range(2)]
    for store in stores:
        await store.put_many(["a", "b"], [1, 2])
        await store.get_many(["a", "b"])
    assert stores[0].find(Encryption).messages == {"a": 4}


async def test_half_of_the_messages_is_worth_a_line(caplog: pytest.LogCaptureFixture) -> None:
    keyring = Keyring.generate("a")
    store = stack().encrypt(keyring).over(MemoryStore())
    keyring.cipher("a").count.messages = 2**31 - 2
    with caplog.at_level(logging.WARNING, "kvwrap.encryption"):
        await store.put("k", 1)
        assert not caplog.records
        await store.put("k", 1)
    assert len(caplog.records) == 1
    assert "'a'" in caplog.text
    keyring.cipher("a").count.messages = 2**32
    with pytest.raises(ConfigurationError, match="promote"):
        await store.put("k", 1)


# -- fetched and enveloped keys ------------------------------------------------------------


async def test_a_process_learns_of_a_key_that_was_added_elsewhere(clock: ManualClock) -> None:
    kept = {"keyring": RING}
    calls = 0

    async def fetch() -> Keyring:
        nonlocal calls
        calls += 1
        return kept["keyring"]

    backend = MemoryStore(clock=clock)
    store = stack().encrypt(Keyring.from_callable(fetch)).over(backend)
    await store.put("old", 1)
    added = RING.with_key("k2", b"2" * 32).promoted("k2")
    await stack().encrypt(added).over(backend).put("new", 2)
    kept["keyring"] = added

    with pytest.raises(DecryptionError, match="does not have"):
        await store.get("new")  # asked too soon after the last time
    clock.advance(6)
    assert await store.get_many(["new", "old"]) == [2, 1]
    assert calls == 2
    await store.put("old", 3)
    assert (await entry_in(backend, "old")).codec[1:5] == codec.fingerprint("k2")


async def test_keys_are_fetched_anew_after_a_while_and_on_demand(clock: ManualClock) -> None:
    kept = {"primary": "a"}

    def fetch() -> Mapping[str, bytes]:
        other = "b" if kept["primary"] == "a" else "a"
        return {name: name.encode() * 32 for name in (kept["primary"], other)}

    store = stack().encrypt(Keyring.from_callable(fetch, refresh=60)).over(MemoryStore(clock=clock))
    encryption = store.find(Encryption)
    async with store:
        assert encryption.primary == "a"
        kept["primary"] = "b"
        clock.advance(59)
        await store.put("k", 1)
        assert encryption.primary == "a"
        clock.advance(1)
        await store.put("k", 1)
        assert encryption.primary == "b"
        kept["primary"] = "a"
        await encryption.reload()
        await store.put("k", 1)
        assert encryption.messages == {"a": 2, "b": 1}


async def test_keys_at_hand_outlast_a_key_service(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    calls = 0

    async def fetch() -> Keyring:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError("no route to secret-host")
        return RING

    store = stack().encrypt(Keyring.from_callable(fetch, refresh=10)).over(MemoryStore(clock=clock))
    await store.put("k", 1)
    clock.advance(10)
    for _ in range(3):
        assert await store.get("k") == 1
    assert calls == 2
    assert "secret-host" not in caplog.text
    clock.advance(5)
    await store.get("k")
    assert calls == 3
    with pytest.raises(StoreUnavailable):
        await store.find(Encryption).reload()


async def test_a_key_service_that_fails_at_first_is_told_on_opening() -> None:
    async def fetch() -> Keyring:
        raise OSError

    store = stack().encrypt(Keyring.from_callable(fetch)).over(MemoryStore())
    with pytest.raises(StoreUnavailable) as caught:
        await store.open()
    assert isinstance(caught.value.__cause__, OSError)
    wrong = stack().encrypt(Keyring.from_callable(lambda: {"a": b"short"})).over(MemoryStore())
    with pytest.raises(ConfigurationError, match="32 bytes"):
        await wrong.put("k", 1)


async def test_many_callers_fetch_once() -> None:
    calls = 0

    async def fetch() -> Keyring:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        return RING

    store = stack().encrypt(Keyring.from_callable(fetch)).over(MemoryStore())
    await asyncio.gather(*(store.put(f"k{n}", n) for n in range(20)))
    assert calls == 1


async def test_a_cancelled_fetch_leaves_nothing_stuck() -> None:
    gate = asyncio.Event()

    async def fetch() -> Keyring:
        await gate.wait()
        return RING

    store = stack().encrypt(Keyring.from_callable(fetch)).over(MemoryStore())
    first = asyncio.create_task(store.put("a", 1))
    second = asyncio.create_task(store.put("b", 2))
    await ManualClock.settle()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    gate.set()
    await second
    assert await store.get("b") == 2
    assert await store.get("a") is None


class CountingKEK(LocalKEK):
    """Counts how often it is asked, and can be out of order."""

    calls = 0
    broken = False

    async def unwrap(self, wrapped: bytes) -> bytes:
        self.calls += 1
        if self.broken:
            raise OSError
        return await super().unwrap(wrapped)


@pytest.fixture
def kek() -> CountingKEK:
    return CountingKEK(b"K" * 32)


async def test_data_keys_are_opened_once_and_kept_for_a_while(
    kek: CountingKEK, clock: ManualClock
) -> None:
    keyring = await EnvelopeKeyring.generate(kek, "d1", max_age=60)
    backend = MemoryStore(clock=clock)
    store = stack().encrypt(keyring).over(backend)
    for n in range(3):
        await store.put("k", n)
        assert await store.get("k") == n
    assert kek.calls == 1
    clock.advance(60)
    await store.put("k", 4)
    assert kek.calls == 2
    assert store.find(Encryption).messages == {"d1": 4}

    kek.broken = True
    assert await store.get("k") == 4
    clock.advance(60)
    with pytest.raises(StoreUnavailable):
        await store.get("k")


async def test_more_data_keys_than_are_kept(kek: CountingKEK) -> None:
    keyring = await EnvelopeKeyring.generate(kek, "d0", max_keys=1)
    backend = MemoryStore()
    for n in range(3):
        name = f"d{n}"
        keyring = keyring if n == 0 else (await keyring.with_key(name)).promoted(name)
        await stack().encrypt(keyring).over(backend).put(name, n)
    store = stack().encrypt(keyring).over(backend)
    assert await store.get_many(["d0", "d1", "d2"]) == [0, 1, 2]
    both = await asyncio.gather(store.get_many(["d0", "d1"]), store.get_many(["d2", "d0"]))
    assert both == [[0, 1], [2, 0]]


async def test_the_key_encryption_key_changes_without_a_rewrite(kek: CountingKEK) -> None:
    keyring = await EnvelopeKeyring.generate(kek, "d1")
    backend = MemoryStore()
    await stack().encrypt(keyring).over(backend).put("k", 1)
    other = LocalKEK.generate()
    text = (await keyring.rewrapped(other)).to_text()
    moved = EnvelopeKeyring.from_text(text, kek=other)
    assert await stack().encrypt(moved).over(backend).get("k") == 1
    stale = EnvelopeKeyring.from_text(text, kek=kek)
    with pytest.raises(DecryptionError):
        await stack().encrypt(stale).over(backend).get("k")


# -- its arguments and its place -----------------------------------------------------------


@pytest.mark.parametrize("keyring", [None, "k", b"1" * 32, {"k": b"1" * 32}])
def test_what_is_no_keyring_is_refused(keyring: Any) -> None:
    with pytest.raises(ConfigurationError, match="a keyring is wanted") as caught:
        Encryption(keyring)
    assert "1111" not in str(caught.value)


@pytest.mark.parametrize("limit", [0, -1, 1.5, True])
def test_limits_that_are_none(limit: Any) -> None:
    with pytest.raises(ConfigurationError):
        Encryption(RING, message_limit=limit)


def test_readers_of_what_anybody_wrote_need_an_open_migration() -> None:
    with pytest.raises(ConfigurationError, match="accept_plaintext"):
        Encryption(RING, legacy=[PyKeyValueCompression()])
    Encryption(RING, legacy=[PyKeyValueCompression()], accept_plaintext=True)


def test_nothing_of_a_key_is_shown() -> None:
    store = stack().encrypt(RING).over(MemoryStore())
    for text in (repr(store), store.explain(), repr(store.find(Encryption).arguments)):
        assert "1111" not in text
        assert "k1" in text


def codes(store: Store) -> set[str]:
    return {finding.code for finding in store.findings}


@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
def test_findings() -> None:
    assert codes(stack().encrypt(RING).over(MemoryStore())) == set()
    assert "double-encryption" in codes(stack().encrypt(RING).encrypt(RING).over(MemoryStore()))
    open_ = stack().encrypt(RING, accept_plaintext=True)
    assert codes(open_.over(MemoryStore())) == {"migration-open"}


@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
async def test_two_layers_of_encryption_still_work() -> None:
    store = stack().encrypt(RING).encrypt(Keyring.generate("x")).over(MemoryStore())
    await store.put("k", {"n": 1})
    assert await store.get("k") == {"n": 1}


async def test_a_layer_that_does_not_seal_opens_and_writes_plain() -> None:
    backend = MemoryStore()
    keyring = Keyring({"k": b"k" * 32})
    sealing = stack().encrypt(keyring, accept_plaintext=True).silence("migration-open")
    opening = stack().encrypt(keyring, accept_plaintext=True, seal=False).silence("migration-open")
    before, after = opening.over(backend), sealing.over(backend)
    await before.put("plain", 1)
    await after.put("sealed", 2)
    assert await backend.get("plain") == 1
    for store in (before, after):
        assert await store.get_many(["plain", "sealed"]) == [1, 2]

    report = await rewrite(before)
    assert report.rewritten == 1
    assert await backend.get_many(["plain", "sealed"]) == [1, 2]


def test_not_sealing_needs_plaintext_to_be_accepted() -> None:
    with pytest.raises(ConfigurationError, match="accept_plaintext=True"):
        stack().encrypt(Keyring({"k": b"k" * 32}), seal=False)
