"""Entries that py-key-value encrypted or compressed, read and rewritten."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import msgspec
import pytest
from cryptography.fernet import Fernet
from key_value.aio.stores.memory import MemoryStore as TheirStore
from key_value.aio.wrappers.compression import CompressionWrapper
from key_value.aio.wrappers.encryption import FernetEncryptionWrapper

from kvwrap import (
    ConfigurationError,
    CorruptEntry,
    DecryptionError,
    InvalidValue,
    MemoryStore,
    Store,
    rewrite,
    stack,
)
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.integrations.fernet import FernetTokens
from kvwrap.integrations.py_key_value import PyKeyValueCompression, PyKeyValueEncryption
from tests.integrations.foreign import FERNET, RING, store_holding

pytestmark = pytest.mark.filterwarnings("ignore:legacy-open:kvwrap.StackWarning")

VALUE = {"name": "Ada", "text": "the same words " * 100}


async def store_of_wrapper(wrapped: Any, inner: Any) -> MemoryStore:
    """Copy the entry that a wrapper of py-key-value wrote into one of our stores, unchanged."""
    await wrapped.put("k", VALUE, ttl=1000)
    raw = await inner.get("k")
    return await store_holding(msgspec.json.encode(raw))


async def test_entries_of_the_fernet_wrapper() -> None:
    inner = TheirStore()
    backend = await store_of_wrapper(FernetEncryptionWrapper(inner, fernet=FERNET), inner)
    store = stack().encrypt(RING, legacy=[PyKeyValueEncryption(FERNET)]).over(backend)
    assert await store.get("k") == VALUE


async def test_entries_of_a_derived_key() -> None:
    inner = TheirStore()
    words = {"source_material": "correct horse", "salt": "battery staple"}
    backend = await store_of_wrapper(FernetEncryptionWrapper(inner, **words), inner)  # type: ignore[call-overload]
    store = stack().encrypt(RING, legacy=[PyKeyValueEncryption(**words)]).over(backend)
    assert await store.get("k") == VALUE


async def test_entries_of_the_compression_wrapper() -> None:
    inner = TheirStore()
    backend = await store_of_wrapper(CompressionWrapper(inner, min_size_to_compress=1), inner)
    assert b"__compressed_data__" in (await stored(backend)).body
    store = stack().compress(legacy=[PyKeyValueCompression()]).over(backend)
    assert await store.get("k") == VALUE


async def stored(backend: Store) -> Entry:
    entry = (await backend.read(None, ["k"]))[0]
    assert entry is not None
    return entry


async def test_entries_of_both_wrappers_are_read_and_rewritten() -> None:
    inner = TheirStore()
    fernet = FernetEncryptionWrapper(inner, fernet=FERNET)
    backend = await store_of_wrapper(CompressionWrapper(fernet, min_size_to_compress=1), inner)
    store = (
        stack()
        .compress(legacy=[PyKeyValueCompression()])
        .encrypt(RING, legacy=[PyKeyValueEncryption(FERNET)])
        .over(backend)
    )
    assert await store.get("k") == VALUE

    report = await rewrite(store)
    assert (report.rewritten, report.failed) == (1, 0)
    assert (await stored(backend)).codec == RING.cipher("k").step + codec.ZSTD + codec.JSON
    assert (await rewrite(store)).current == 1
    moved = stack().compress().encrypt(RING).over(backend)
    assert await moved.get("k") == VALUE


async def test_their_store_is_used_directly_and_rewritten_in_place() -> None:
    inner = TheirStore()
    fernet = FernetEncryptionWrapper(inner, fernet=FERNET)
    wrapped = CompressionWrapper(fernet, min_size_to_compress=200)
    keys = [f"k{n}" for n in range(30)]
    # Many of them are equal.
    values = [VALUE if n % 3 else {"n": n // 6} for n in range(30)]
    await wrapped.put_many(keys, values, collection="users", ttl=1000)
    store = (
        stack()
        .compress(legacy=[PyKeyValueCompression()], min_size=0)
        .encrypt(RING, legacy=[PyKeyValueEncryption(FERNET)])
        .over(inner)
    )
    assert await store.get_many(keys, collection="users") == values
    report = await rewrite(store, exclusive=True)
    assert (report.seen, report.rewritten, report.failed) == (30, 30, 0)
    assert report.keys == {"k": 30}
    assert (await rewrite(store, exclusive=True)).current == 30
    moved = stack().compress().encrypt(RING).over(inner)
    assert await moved.get_many(keys, collection="users") == values
    assert (await moved.ttl("k1", collection="users"))[1] == pytest.approx(1000, abs=30)


async def test_equal_plain_values_of_another_program_are_each_counted() -> None:
    their = TheirStore()
    await their.put_many([f"k{n}" for n in range(20)], [{"n": 1}] * 20)
    store = stack().encrypt(RING, accept_plaintext=True).silence("migration-open").over(their)
    await store.put("k0", {"n": 1})
    dry = await rewrite(store, dry_run=True)
    assert (dry.rewritten, dry.current, dry.unencrypted) == (19, 1, 19)
    report = await rewrite(store, exclusive=True)
    assert (report.rewritten, report.current, report.unencrypted) == (19, 1, 0)


async def test_compressed_entries_are_rewritten_without_encryption_too() -> None:
    inner = TheirStore()
    backend = await store_of_wrapper(CompressionWrapper(inner, min_size_to_compress=1), inner)
    store = stack().compress(legacy=[PyKeyValueCompression()]).over(backend)
    assert (await rewrite(store)).rewritten == 1
    assert await stack().compress().over(backend).get("k") == VALUE


async def test_values_that_the_wrapper_passed_through_are_refused() -> None:
    """The wrapper returns values that are not encrypted; here that needs accept_plaintext=True."""
    backend = await store_holding(b'{"forged": true}')
    store = stack().encrypt(RING, legacy=[PyKeyValueEncryption(FERNET)]).over(backend)
    with pytest.raises(DecryptionError, match="not encrypted"):
        await store.get("k")


def encrypted(data: object, version: object = 1) -> bytes:
    return json.dumps({"__encrypted_data__": data, "__encryption_version__": version}).encode()


TOKEN = base64.b64encode(FERNET.encrypt(b"{}")).decode()
OTHER = base64.b64encode(Fernet(Fernet.generate_key()).encrypt(b"{}")).decode()


@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        (encrypted(OTHER), DecryptionError, "does not open"),
        (encrypted(TOKEN[:-8]), DecryptionError, "does not open"),
        (encrypted(TOKEN, 2), DecryptionError, "version 1"),
        (encrypted(TOKEN, "hunter2"), DecryptionError, "version 1"),
        (encrypted("%%%"), CorruptEntry, "not base64"),
        (encrypted(5), CorruptEntry, "not base64"),
        (b'{"__encrypted_data__": "unfinished', DecryptionError, "not encrypted"),
        (b'["__encrypted_data__"]', DecryptionError, "not encrypted"),
        (b'{"text": "__encrypted_data__"}', DecryptionError, "not encrypted"),
    ],
)
async def test_encrypted_entries_that_are_broken(body: bytes, error: Any, says: str) -> None:
    store = (
        stack().encrypt(RING, legacy=[PyKeyValueEncryption(FERNET)]).over(await store_holding(body))
    )
    with pytest.raises(error, match=says) as caught:
        await store.get("k")
    assert TOKEN not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.key == "k"


def compressed(data: object, **fields: object) -> bytes:
    return json.dumps({"__compressed_data__": data, **fields}).encode()


PACKED = base64.b64encode(gzip.compress(b'{"n": 1}', mtime=0)).decode()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (compressed(PACKED, __compression_version__="hunter2"), "version 1"),
        (compressed(PACKED, __compression_algorithm__="hunter2"), "'gzip'"),
        (compressed(PACKED[:-8]), "valid gzip data"),
        (compressed("AAAA"), "valid gzip data"),
        (compressed("%"), "not base64"),
        (compressed({}), "not base64"),
    ],
)
async def test_compressed_entries_that_are_broken(body: bytes, says: str) -> None:
    store = stack().compress(legacy=[PyKeyValueCompression()]).over(await store_holding(body))
    with pytest.raises(CorruptEntry, match=says) as caught:
        await store.get("k")
    assert "hunter2" not in str(caught.value)


async def test_a_small_entry_does_not_exhaust_memory() -> None:
    bomb = base64.b64encode(gzip.compress(b" " * 10_000)).decode()
    store = (
        stack()
        .compress(max_size=1000, legacy=[PyKeyValueCompression()])
        .over(await store_holding(compressed(bomb)))
    )
    with pytest.raises(CorruptEntry, match="1000 bytes"):
        await store.get("k")


async def test_a_value_that_only_contains_the_field_names_is_unchanged() -> None:
    value = {"text": "__compressed_data__", "list": ["__compressed_data__"]}
    store = stack().compress(legacy=[PyKeyValueCompression()]).over(MemoryStore())
    await store.put("k", value)
    assert await store.get("k") == value


@pytest.mark.parametrize("data", [PACKED, "%", "x" * 200, 5])
async def test_a_value_of_the_wrappers_form_comes_back_as_it_was_put(data: object) -> None:
    value = json.loads(compressed(data))
    store = stack().compress(legacy=[PyKeyValueCompression()]).over(MemoryStore())
    await store.put("k", value)
    assert await store.get("k") == value
    small = stack().compress(legacy=[PyKeyValueCompression()], max_size=20).over(MemoryStore())
    with pytest.raises(InvalidValue, match="max_size=20"):
        await small.put("k", value)
    assert await small.get("k") is None


async def test_readers_are_tried_in_order() -> None:
    backend = await store_holding(FERNET.encrypt(b"1"))
    readers = [PyKeyValueEncryption(FERNET), FernetTokens(FERNET)]
    assert await stack().encrypt(RING, legacy=readers).over(backend).get("k") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"fernet": FERNET, "source_material": "x", "salt": "y"},
        {"source_material": "x"},
        {"source_material": "x\ud800", "salt": "y"},
        {"source_material": "x", "salt": b"y"},
        {"salt": "y"},
        {"source_material": "", "salt": "y"},
        {"fernet": FERNET, "salt": "y"},
    ],
)
def test_arguments_that_cannot_be_combined_are_refused(arguments: Any) -> None:
    with pytest.raises(ConfigurationError):
        PyKeyValueEncryption(**arguments)


def test_no_reader_shows_its_keys() -> None:
    reader = PyKeyValueEncryption(source_material="hush", salt="hush")
    for shown in (repr(reader), repr(PyKeyValueCompression())):
        assert "hush" not in shown
