"""Encryption: entries that open, entries that do not, limits and findings."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
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
    Key,
    Keyring,
    MemoryStore,
    SerializationError,
    StackWarning,
    Store,
    ValueTooLarge,
    rewrite,
    stack,
)
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection
from kvwrap.integrations.py_key_value import PyKeyValueCompression
from kvwrap.layers.encryption.sealing import associated_data, context_head
from kvwrap.testing import ManualClock

RING = Keyring({"k1": b"1" * 32})
ALGORITHMS = ("aes-256-gcm", "chacha20-poly1305", "aes-256-gcm-siv")

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
names = texts.filter(lambda name: not name.startswith("kvwrap."))  # those are reserved
places = st.tuples(st.none() | names, names)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=8,
)


async def entry_in(backend: Store, key: str = "k", collection: Collection = None) -> Entry:
    (entry,) = await backend.read(collection, [key])
    assert entry is not None
    return entry


async def seal(keyring: Keyring, value: Any, place: tuple[Collection, str]) -> Entry:
    """Return the entry at rest of this value."""
    backend = MemoryStore()
    await stack().encrypt(keyring).over(backend).put(place[1], value, collection=place[0])
    return await entry_in(backend, place[1], place[0])


async def decrypt(keyring: Keyring, entry: Entry, place: tuple[Collection, str]) -> Any:
    """Read the entry through a stack with this keyring."""
    backend = MemoryStore()
    await backend.write(place[0], [place[1]], [entry])
    return await stack().encrypt(keyring).over(backend).require(place[1], collection=place[0])


# -- reading and writing -------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_values_are_read_and_not_stored_in_plaintext(algorithm: Any) -> None:
    backend = MemoryStore()
    store = stack().encrypt(Keyring.generate("k", algorithm=algorithm)).over(backend)
    await store.put_many(["a", "b"], [{"secret": "in the open"}, {"secret": 2}], ttl=60)
    assert await store.get_many(["b", "a"]) == [{"secret": 2}, {"secret": "in the open"}]
    for key in ("a", "b"):
        assert b"secret" not in (await entry_in(backend, key)).body
    assert (await store.ttl("a"))[1] == pytest.approx(60, abs=1)


async def test_the_same_value_never_has_the_same_bytes_twice() -> None:
    backend = MemoryStore()
    store = stack().encrypt(RING).over(backend)
    bodies = set()
    for _ in range(100):
        await store.put("k", {"n": 1})
        bodies.add((await entry_in(backend)).body)
    assert len({body[:16] for body in bodies}) == 1
    assert len({body[16:28] for body in bodies}) == 100


@settings(max_examples=60)
@given(values, places, st.lists(st.sampled_from("abcd"), max_size=5))
def test_any_value_is_read_through_any_rotation(
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


async def test_an_entry_made_without_kvwrap_is_read(clock: ManualClock) -> None:
    """The format, implemented a second time, as another language would implement it."""
    backend = MemoryStore(clock=clock)
    collection, key, plain = "users", "ada", b'{"n":1}'
    created = round(clock.time() * 1000)
    ends = created + 60_000
    steps = b"\x98" + RING_ID + b"\x3f\x07\x01" + ends.to_bytes(6, "big") + b"\x01"
    bound = b"\x02" + b"\x00\x00\x00\x03app"
    bound += b"\x01" + b"\x00\x00\x00\x05users" + b"\x00\x00\x00\x03ada"
    bound += created.to_bytes(6, "big") + steps
    nonce = os.urandom(12)
    # HKDF-SHA256 (RFC 5869) of one block, without a salt.
    extracted = hmac.digest(bytes(32), b"1" * 32, "sha256")
    commitment = hmac.digest(extracted, b"kvwrap key commitmentaes-256-gcm\x01", "sha256")[:16]
    body = commitment + nonce + AESGCM(b"1" * 32).encrypt(nonce, plain, bound)
    await backend.write(collection, [key], [Entry(body, steps, created / 1000, None, 7)])
    store = stack().encrypt(RING, context=b"app").over(backend)
    value, ttl = await store.ttl(key, collection=collection)
    assert value == {"n": 1}
    assert ttl == pytest.approx(60)


RING_ID = codec.fingerprint("k1")


async def test_overhead_at_rest_is_at_most_88_bytes() -> None:
    value = {"text": "the same words over and over " * 500}
    compressed = len(zstandard.ZstdCompressor(level=3).compress(json.dumps(value).encode()))
    backend = MemoryStore()
    store = stack().compress().encrypt(RING).over(backend)
    await store.put("k", value, collection="c", ttl=60)
    at_rest = len((await entry_in(backend, "k", "c")).to_bytes("c", "k"))
    assert at_rest - compressed <= 88


# -- entries that do not open --------------------------------------------------------------


@settings(max_examples=60)
@given(st.data())
def test_any_flipped_bit_at_rest_is_detected(data: st.DataObject) -> None:
    place = data.draw(places)

    async def check() -> None:
        raw = bytearray((await seal(RING, {"n": 1}, place)).to_bytes(*place))
        bit = data.draw(st.integers(0, len(raw) * 8 - 1))
        raw[bit // 8] ^= 1 << bit % 8
        with pytest.raises((CorruptEntry, DecryptionError)):
            await decrypt(RING, Entry.from_bytes(bytes(raw), *place, "test"), place)

    asyncio.run(check())


@settings(max_examples=60)
@given(st.data())
def test_a_flipped_bit_is_detected_by_encryption_alone(data: st.DataObject) -> None:
    """As if the checksum had been corrected: the tag authenticates body and codec."""

    async def check() -> None:
        entry = await seal(RING, {"n": 1}, (None, "k"))
        field = data.draw(st.sampled_from(["body", "codec"]))
        altered = bytearray(getattr(entry, field))
        bit = data.draw(st.integers(0, len(altered) * 8 - 1))
        altered[bit // 8] ^= 1 << bit % 8
        body, steps = (
            (bytes(altered), entry.codec) if field == "body" else (entry.body, bytes(altered))
        )
        with pytest.raises(DecryptionError):
            await decrypt(RING, entry.with_body(body, steps), (None, "k"))

    asyncio.run(check())


@settings(max_examples=100)
@given(places, places)
def test_an_entry_opens_under_no_other_name(
    one: tuple[Collection, str], other: tuple[Collection, str]
) -> None:
    async def check() -> None:
        entry = await seal(RING, {"n": 1}, one)
        if one == other:
            assert await decrypt(RING, entry, other) == {"n": 1}
            return
        with pytest.raises(DecryptionError, match="another name"):
            await decrypt(RING, entry, other)

    asyncio.run(check())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((None, "ab"), ("a", "b")),
        (("ab", "c"), ("a", "bc")),
        (("a", "k"), (None, "k")),
        (("\x00", "k"), (None, "\x00k")),
    ],
)
async def test_names_with_the_same_concatenation_differ(one: Any, other: Any) -> None:
    assert bound(one, b"\x01") != bound(other, b"\x01")
    with pytest.raises(DecryptionError):
        await decrypt(RING, await seal(RING, 1, one), other)


def bound(place: tuple[Collection, str], steps: bytes, context: bytes = b"") -> bytes:
    """Return the associated data of an entry that was made at a certain time."""
    return associated_data(context_head(context), *place, 1.5, steps)


@given(*2 * (st.tuples(places, st.binary(max_size=8), st.binary(max_size=8)),))
def test_no_two_entries_have_the_same_associated_data(one: Any, other: Any) -> None:
    first, second = (bound(place, steps, context) for place, steps, context in (one, other))
    assert (first == second) == (one == other)


@pytest.mark.parametrize("length", [0, 15, 16, 27, 28, 43, 44, 50])
async def test_truncated_bodies(length: int) -> None:
    entry = await seal(RING, {"text": "some words"}, (None, "k"))
    assert len(entry.body) > 50
    with pytest.raises(DecryptionError):
        await decrypt(RING, entry.with_body(entry.body[:length], entry.codec), (None, "k"))


async def test_an_unknown_key_is_named_by_its_id() -> None:
    entry = await seal(Keyring({"other": b"2" * 32}), 1, (None, "k"))
    with pytest.raises(DecryptionError, match=codec.fingerprint("other").hex()) as caught:
        await decrypt(RING, entry, (None, "k"))
    assert "'k1'" in str(caught.value)
    assert caught.value.key == "k"
    assert caught.value.store == "Encryption"


async def test_another_key_of_the_same_name() -> None:
    entry = await seal(Keyring({"k1": b"2" * 32}), 1, (None, "k"))
    with pytest.raises(DecryptionError, match="'k1': it was sealed with another key of this name"):
        await decrypt(RING, entry, (None, "k"))


async def test_the_keyring_chooses_the_algorithm_not_the_data() -> None:
    entry = await seal(Keyring({"k1": Key(b"1" * 32)}), 1, (None, "k"))
    other = Keyring({"k1": Key(b"1" * 32, algorithm="chacha20-poly1305")})
    with pytest.raises(DecryptionError):
        await decrypt(other, entry, (None, "k"))


async def test_errors_show_neither_keys_nor_values() -> None:
    entry = await seal(RING, {"secret": "hush"}, (None, "k"))
    for broken in (
        entry.with_body(entry.body[:-1], entry.codec),
        entry.with_body(b'{"secret": "hush"}', b"\x01"),
        entry.with_body(entry.body, b"\x98abcd\x01"),
    ):
        with pytest.raises(DecryptionError) as caught:
            await decrypt(RING, broken, (None, "k"))
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


async def test_an_open_migration_hides_no_corrupt_entry() -> None:
    entry = await seal(RING, {"n": 1}, (None, "k"))
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
    class Limited:
        """The object of `cryptography` for a key, which refuses a message of over 2 GiB."""

        def encrypt(self, nonce: bytes, plain: bytes, associated_data: bytes) -> bytes:
            raise OverflowError

        def decrypt(self, nonce: bytes, sealed: bytes, associated_data: bytes) -> bytes:
            raise AssertionError

    monkeypatch.setattr(Key, "aead", lambda key: Limited())
    store = stack().encrypt(Keyring.generate("k")).over(MemoryStore())
    with pytest.raises(ValueTooLarge, match="2 GiB"):
        await store.put("k", {"n": 1})


# -- arguments and findings ----------------------------------------------------------------


@pytest.mark.parametrize("keyring", [None, "k", b"1" * 32, {"k": b"1" * 32}])
def test_other_objects_than_keyrings_are_refused(keyring: Any) -> None:
    with pytest.raises(ConfigurationError, match="`keyring` must be a keyring") as caught:
        Encryption(keyring)
    assert "1111" not in str(caught.value)


@pytest.mark.parametrize("limit", [0, -1, 1.5, True])
def test_invalid_limits_are_refused(limit: Any) -> None:
    with pytest.raises(ConfigurationError):
        Encryption(RING, message_limit=limit)


def test_readers_that_do_not_authenticate_need_an_open_migration() -> None:
    with pytest.raises(ConfigurationError, match="accept_plaintext"):
        Encryption(RING, legacy=[PyKeyValueCompression()])
    Encryption(RING, legacy=[PyKeyValueCompression()], accept_plaintext=True)


def test_no_key_is_shown() -> None:
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
