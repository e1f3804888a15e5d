"""The header byte by byte, and the detection of damage to it."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import CorruptEntry
from kvwrap.core import codec
from kvwrap.core.entry import (
    FORMAT,
    MAGIC,
    Entry,
    ForeignVersion,
    dump_entries,
    has_expired,
    is_entry,
    live,
    parse_entries,
    with_lasting_versions,
)
from kvwrap.core.ttl import LATEST

names = st.text(min_size=1, max_size=20).filter(lambda name: name.isprintable())
moments = st.integers(0, int(LATEST * 1000)).map(lambda milliseconds: milliseconds / 1000)
entries = st.builds(
    Entry,
    body=st.binary(max_size=300),
    codec=st.binary(max_size=255),
    created_at=moments,
    expires_at=st.none() | moments.filter(bool),
    version=st.integers(0, 2**64 - 1),
)


@given(entry=entries, collection=st.none() | names, key=names)
def test_an_entry_comes_back_from_its_bytes(entry: Entry, collection: str | None, key: str) -> None:
    data = entry.to_bytes(collection, key)
    found = Entry.from_bytes(data, collection, key, "store")
    assert (found.body, found.codec, found.version) == (entry.body, entry.codec, entry.version)
    assert found.created_at == pytest.approx(entry.created_at, abs=0.001)
    again = Entry.from_bytes(found.to_bytes(collection, key), collection, key, "store")
    assert (again.created_at, again.expires_at) == (found.created_at, found.expires_at)
    if entry.expires_at is None:
        assert found.expires_at is None
    else:
        assert found.expires_at is not None
        assert entry.expires_at - 0.001001 < found.expires_at <= entry.expires_at + 1e-6


@given(entry=entries, collection=st.none() | names, key=names, data=st.data())
def test_all_damage_is_detected(
    entry: Entry, collection: str | None, key: str, data: st.DataObject
) -> None:
    whole = entry.to_bytes(collection, key)
    index = data.draw(st.integers(0, len(whole) - 1))
    mask = data.draw(st.integers(1, 255))
    flipped = whole[:index] + bytes((whole[index] ^ mask,)) + whole[index + 1 :]
    for damaged in (flipped, whole[:index], whole[index + 1 :], whole + b"\x00"):
        with pytest.raises(CorruptEntry) as raised:
            Entry.from_bytes(damaged, collection, key, "the store")
        assert (raised.value.store, raised.value.collection, raised.value.key) == (
            "the store",
            collection,
            key,
        )


def test_every_byte_flipped_and_every_length() -> None:
    whole = Entry(b'{"a":1}', codec.JSON, 1.5, 2.5, 7).to_bytes("there", "key")
    for index in range(len(whole)):
        for mask in range(1, 256):
            with pytest.raises(CorruptEntry):
                Entry.from_bytes(
                    whole[:index] + bytes((whole[index] ^ mask,)) + whole[index + 1 :],
                    "there",
                    "key",
                    "store",
                )
        with pytest.raises(CorruptEntry):
            Entry.from_bytes(whole[:index], "there", "key", "store")


@given(
    entry=entries,
    written=st.tuples(st.none() | names, names),
    other=st.tuples(st.none() | names, names),
)
def test_an_entry_of_another_key_is_refused(
    entry: Entry, written: tuple[str | None, str], other: tuple[str | None, str]
) -> None:
    if written != other:
        with pytest.raises(CorruptEntry):
            Entry.from_bytes(entry.to_bytes(*written), *other, "store")


def test_names_with_equal_concatenations_are_other_keys() -> None:
    data = Entry(b"1", codec.JSON, 1.0, None, 7).to_bytes("ab", "c")
    for collection, key in (("a", "bc"), (None, "abc"), ("abc", "c"), ("", "abc")):
        with pytest.raises(CorruptEntry):
            Entry.from_bytes(data, collection, key, "store")


@given(st.binary(max_size=100))
def test_foreign_bytes_are_not_an_entry(data: bytes) -> None:
    with pytest.raises(CorruptEntry):
        Entry.from_bytes(data, None, "key", "store")


def test_raw_is_suggested_only_where_there_is_one() -> None:
    with pytest.raises(CorruptEntry, match="raw=True"):
        Entry.from_bytes(b"theirs", None, "k", "Store", has_raw=True)
    with pytest.raises(CorruptEntry) as caught:
        Entry.from_bytes(b"theirs", None, "k", "Store")
    assert "raw" not in str(caught.value)
    with pytest.raises(CorruptEntry) as caught:
        parse_entries([b"theirs"], None, ["k"], "Store", 0.0)
    assert "raw" not in str(caught.value)


def test_bytes_of_another_program_are_told_from_damaged_ones() -> None:
    data = Entry(b"body" * 20, codec.JSON, 1.0, None, 1).to_bytes(None, "k")
    for foreign in (b"theirs", b"theirs" * 20, b"x" + data[1:], data[:20]):
        with pytest.raises(CorruptEntry, match="another program's, or were altered"):
            Entry.from_bytes(foreign, None, "k", "Store")
    with pytest.raises(CorruptEntry, match="altered, truncated, or written under another name"):
        Entry.from_bytes(data[:-1], None, "k", "Store")


def test_the_header_is_as_documented() -> None:
    entry = Entry(b"body", b"\x10\x01", 1_700_000_000.123, 1_700_000_060.5, 0x0102030405060708)
    data = entry.to_bytes("there", "key")
    assert data[:2] == b"\xabk" == MAGIC
    assert data[2] == 2 == FORMAT
    assert int.from_bytes(data[3:9]) == 1_700_000_000_123
    assert int.from_bytes(data[9:15]) == 1_700_000_060_500
    assert int.from_bytes(data[15:23]) == 0x0102030405060708
    assert data[23] == 2
    assert data[24:26] == b"\x10\x01"
    assert data[30:] == b"body"
    checked = b"6:there" + b"key" + data[:26] + b"body"
    assert struct.unpack(">I", data[26:30]) == (zlib.crc32(checked),)
    without = Entry(b"body", b"\x01", 0.0, None, 1).to_bytes(None, "key")
    assert without[9:15] == bytes(6)
    assert struct.unpack(">I", without[25:29]) == (zlib.crc32(b"0:key" + without[:25] + b"body"),)
    assert is_entry(data)
    assert not is_entry(b'{"a":1}')


def test_a_header_of_another_format_says_so() -> None:
    data = bytearray(Entry(b"", b"", 0.0, None, 1).to_bytes(None, "key"))
    data[2] = 1
    with pytest.raises(CorruptEntry, match="format 1"):
        Entry.from_bytes(bytes(data), None, "key", "store")


def test_an_expiry_is_never_rounded_to_never_nor_up() -> None:
    for expiry in (0.0, 0.0001, 1.0001, 1.00099, 1_700_000_000.1239, LATEST, LATEST * 2):
        data = Entry(b"", b"", 0.0, expiry, 1).to_bytes(None, "key")
        found = Entry.from_bytes(data, None, "key", "store")
        assert found.expires_at is not None
        assert expiry - 0.001 <= found.expires_at <= max(0.001, expiry) or expiry > LATEST


def test_the_error_of_a_float_costs_no_millisecond() -> None:
    for milliseconds in range(1000):
        now = 1_700_000_000 + milliseconds / 1000
        data = Entry(b"", b"", now, now + 0.3, 1).to_bytes(None, "key")
        assert int.from_bytes(data[9:15]) == 1_700_000_000_300 + milliseconds


def test_an_entry_cannot_be_changed() -> None:
    entry = Entry(b"", b"", 0.0, None, 1)
    with pytest.raises(AttributeError):
        entry.body = b"other"  # type: ignore[misc]  # is refused
    assert entry.with_expiry(5.0).expires_at == 5.0
    assert entry.with_expiry(5.0, 2).version == 2
    assert entry.with_body(b"x", b"y") == Entry(b"x", b"y", 0.0, None, 1)


@pytest.mark.parametrize("expires_at", [None, 5.0])
def test_what_has_expired_is_seen_in_the_header(expires_at: float | None) -> None:
    data = Entry(b"1", codec.JSON, 1.0, expires_at, 1).to_bytes(None, "k")
    assert not has_expired(data, 4.999)
    assert has_expired(data, 5.0) is (expires_at is not None)
    assert not has_expired(data[:20], 9.0)
    assert not has_expired(b"XX" + data[2:], 9.0)


batches = st.dictionaries(names, entries, max_size=6)


@given(batch=batches, collection=st.none() | names, now=moments)
def test_a_batch_is_dumped_and_parsed_like_its_entries(
    batch: dict[str, Entry], collection: str | None, now: float
) -> None:
    stored = dump_entries(batch.values(), collection, batch)
    assert stored == [entry.to_bytes(collection, key) for key, entry in batch.items()]
    parsed = parse_entries([*stored, None], collection, [*batch, "missing"], "store", now)
    single = [
        live(Entry.from_bytes(data, collection, key, "store"), now)
        for key, data in zip(batch, stored)
    ]
    assert parsed == [*single, None]


def test_the_times_of_each_entry_of_a_batch_are_its_own() -> None:
    entry = Entry(b"1", codec.JSON, 1.0, 9.0, 1)
    batch = [entry, entry.with_expiry(None), entry, entry.with_expiry(2.0), entry]
    stored = dump_entries(batch, "c", "abcde")
    assert parse_entries(stored, "c", "abcde", "store", 0.0) == batch
    parsed = parse_entries(stored, "c", "abcde", "store", 2.0)
    assert parsed == [None if each is batch[3] else each for each in batch]


def test_the_damaged_entry_of_a_batch_is_named() -> None:
    entry = Entry(b"1", codec.JSON, 1.0, None, 1)
    stored = dump_entries([entry] * 3, "c", "abc")
    other = bytearray(stored[1])
    other[2] = 1
    for damaged, problem in (
        (stored[1][:-1], "altered"),
        (stored[1][:20], "must be an entry"),
        (stored[0], "another name"),
        (bytes(other), "format 1"),
    ):
        with pytest.raises(CorruptEntry, match=problem) as raised:
            parse_entries([stored[0], damaged, stored[2]], "c", "abc", "the store", 0.0)
        assert (raised.value.store, raised.value.collection, raised.value.key) == (
            "the store",
            "c",
            "b",
        )


def test_only_foreign_versions_of_a_batch_are_replaced() -> None:
    entry = Entry(b"1", codec.JSON, 1.0, None, 1)
    own = [entry, entry]
    assert with_lasting_versions(own) is own
    foreign = Entry(b"1", codec.JSON, 1.0, None, ForeignVersion(1))
    kept, replaced = with_lasting_versions([entry, foreign])
    assert kept is entry
    assert type(replaced.version) is int
    (data,) = dump_entries([foreign], None, ["k"])
    (stored,) = parse_entries([data], None, ["k"], "store", 0.0)
    assert stored is not None
    assert stored.version != foreign.version
