"""Everything of kvwrap that reads bytes which somebody else may have written, one row a reader."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import sqlite3
import zlib
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import brotli  # type: ignore[import-untyped]
import lz4.frame  # type: ignore[import-untyped]
import msgspec
import zstandard
from cryptography.fernet import Fernet

from kvwrap import (
    Compression,
    EnvelopeKeyring,
    Keyring,
    LocalKEK,
    MemoryStore,
    SQLiteStore,
    Stack,
    Store,
    adapt,
    from_config,
    rewrite,
    stack,
    store_from_url,
)
from kvwrap.core import codec
from kvwrap.core.entry import Entry, has_expired
from kvwrap.core.primitives import KeyRange
from kvwrap.core.serializer import JSON, PickleSerializer, ValueCodec
from kvwrap.integrations.fernet import FernetTokens
from kvwrap.integrations.py_key_value import PyKeyValueCompression, PyKeyValueEncryption
from kvwrap.keyring import Key
from kvwrap.layers.base import LegacyReader
from kvwrap.layers.compression.algorithms.lookup import make_algorithm
from kvwrap.layers.compression.records import RESERVED
from tests.layers.compression.sample_records import records
from tests.mutations import Mutator, forge, mutate, truncate

VALUE = {"n": 1, "s": "text é", "l": [1, 2.5, None, True, {"a": "b" * 30}]}
PLAIN = JSON.dumps([VALUE] * 20)
KEYRING = Keyring(
    {
        "a": Key(bytes(range(32))),
        "b": Key(bytes(32), algorithm="chacha20-poly1305"),
        "c": Key(b"1" * 32, algorithm="aes-256-gcm-siv"),
    }
)
FERNET = Fernet(base64.urlsafe_b64encode(b"f" * 32))
LIMIT = 32 * 2**20


class Reader(NamedTuple):
    """A reader of bytes.

    Attributes:
        seeds: Bytes that it reads.
        read: Reads other bytes; may raise errors of kvwrap only.
        share: Its share of all trials, per thousand.
        mutator: Makes other bytes from a seed.
    """

    seeds: Sequence[bytes]
    read: Callable[[bytes], object]
    share: int
    mutator: Mutator = mutate


class Place(NamedTuple):
    """What a row is built with: a folder of its own, and `run`, which runs a coroutine."""

    folder: Path
    run: Callable[[Coroutine[Any, Any, Any]], Any]


def _entry_reader(place: Place) -> Reader:
    entry = Entry(b"body" * 5, b"\x98abcd\x10\x01", 1e9, 2e9, 7)

    def read(data: bytes) -> None:
        has_expired(data, 1.0)
        parsed = Entry.from_bytes(data, None, "k", "x")
        again = Entry.from_bytes(parsed.to_bytes(None, "k"), None, "k", "x")
        assert (again.body, again.codec, again.version) == (
            parsed.body,
            parsed.codec,
            parsed.version,
        )

    return Reader([entry.to_bytes(None, "k")], read, 120, forge)


def _codec_reader(place: Place) -> Reader:
    def read(data: bytes) -> None:
        steps = data[:255]
        assert b"".join(codec.steps(steps)) == steps
        codec.describe(steps)
        codec.is_bare(steps)
        codec.skip_annotations(steps)
        for kind in (codec.SEALED_EXPIRY, codec.WRITE_DATE, codec.NEAR_COPY, codec.NEAR_MISS):
            codec.take_annotation(steps, kind)
        ValueCodec(JSON).loads(b"1", steps)

    near = codec.annotation(codec.NEAR_COPY, b"x" * 32) + codec.JSON
    return Reader(
        [b"\x01", b"\x98aaaa\x10\x01", near, b"\x90abcd\x01", b"\x9fabcd", b"\x3f"], read, 60
    )


def _loads(serializer: str, *seeds: bytes) -> Callable[[Place], Reader]:
    def build(place: Place) -> Reader:
        values = stack().serialize(serializer).over(MemoryStore())  # type: ignore[arg-type]  # its name
        reader = ValueCodec(values.serializer)
        return Reader(seeds, lambda data: reader.loads(data, reader.tag), 80)

    return build


def _pickle_framing(place: Place) -> Reader:
    reader = ValueCodec(PickleSerializer())
    seed = PickleSerializer().dumps([VALUE] * 3)
    # Only truncated: other bytes would be code.
    return Reader([seed], lambda data: reader.loads(data, codec.PICKLE), 20, truncate)


def _decompress(name: str, *more: bytes) -> Callable[[Place], Reader]:
    def build(place: Place) -> Reader:
        algorithm = make_algorithm(name)
        seeds = [*map(algorithm.compress, (PLAIN, b"a" * 100_000, b"")), *more]
        return Reader(seeds, lambda data: algorithm.decompress(data, LIMIT), 40)

    return build


def _held(layers: Stack, raw: bool = False) -> tuple[Store, dict[str, Any]]:
    held: dict[str, Any] = {}
    return layers.over(adapt(held, raw=True) if raw else adapt(held)), held


def _stack_reader(
    layers: Callable[[], Stack], *values: object, raw: bool = False, more: Sequence[bytes] = ()
) -> Callable[[Place], Reader]:
    def build(place: Place) -> Reader:
        store, held = _held(layers(), raw)
        seeds = list(more)
        for value in values:
            place.run(store.put("k", value))
            seeds.append(held["k"])
        return _reader_of_a_stack(place, store, held, seeds, 30)

    return build


def _reader_of_a_stack(
    place: Place, store: Store, held: dict[str, Any], seeds: Sequence[bytes], share: int
) -> Reader:
    calls = (store.get, store.get, store.ttl, store.get_versioned, store.exists, store.delete)

    def read(data: bytes) -> None:
        held["k"] = data
        place.run(calls[len(data) % len(calls)]("k"))

    return Reader(seeds, read, share, forge)


def _near_reader(place: Place) -> Reader:
    far = MemoryStore()
    held: dict[str, Any] = {}
    place.run(far.put("k", VALUE))
    store = stack().read_through(adapt(held), ttl=60, negative_ttl=5).over(far)
    place.run(store.get("k"))
    seeds = [held["k"]]
    place.run(far.delete("k"))
    held.clear()
    place.run(store.get("k"))
    seeds.append(held["k"])
    return _reader_of_a_stack(place, store, held, seeds, 30)


def _replica_reader(place: Place) -> Reader:
    held: dict[str, Any] = {}
    store = stack().replicate([adapt(held)], read_quorum=2).over(MemoryStore())
    place.run(store.put("k", VALUE))
    return _reader_of_a_stack(place, store, held, [held["k"]], 15)


def _dictionary_reader(place: Place) -> Reader:
    store, held = _held(stack().compress(dictionaries=True))
    samples = [JSON.dumps(value) for value in records(200)]
    place.run(store.find(Compression).train(samples=samples, size=2048))
    place.run(store.put("k", records(1)[0]))
    return _reader_of_a_stack(place, store, held, [held["k"]], 30)


def _record_reader(place: Place) -> Reader:
    base = MemoryStore()
    trained = stack().compress(dictionaries=True).over(base)
    samples = [JSON.dumps(value) for value in records(200)]
    place.run(trained.find(Compression).train(samples=samples, size=512))
    place.run(trained.put("k", records(1)[0]))
    keys = list(place.run(base.list_keys(RESERVED, KeyRange(), None)).keys)
    entries = place.run(base.read(RESERVED, keys))
    bodies = [b"%d" % n + zstandard.decompress(e.body) for n, e in enumerate(entries)]

    def read(data: bytes) -> None:
        number = data[:1] == b"1"
        written = [*entries]
        body = zstandard.compress(data[1:]) if len(data) % 4 else data[1:]
        written[number] = entries[number].with_body(body, entries[number].codec)
        place.run(base.write(RESERVED, keys, written))
        store = stack().compress(dictionaries=True).over(base)
        part = store.find(Compression)
        calls = (
            lambda: store.get("k"),
            lambda: store.put("z", "ab" * 99),
            part.dictionaries,
            part.retire,
        )
        place.run(calls[len(data) % 4]())

    return Reader(bodies, read, 8)


def _legacy(reader: Any, *seeds: bytes) -> Callable[[Place], Reader]:
    def build(place: Place) -> Reader:
        def read(data: bytes) -> None:
            reader.read(Entry(data, b"", 0.0, None, 1), None, "k", limit=LIMIT)

        return Reader(seeds, read, 30)

    return build


def _text(
    parse: Callable[[str, Place], object], share: int, *seeds: bytes
) -> Callable[[Place], Reader]:
    def build(place: Place) -> Reader:
        def read(data: bytes) -> None:
            # A lone surrogate for every byte that is not UTF-8, as in the environment.
            parse(data.decode(errors="surrogateescape"), place)

        return Reader(seeds, read, share)

    return build


def _file(parse: Callable[[Path], object], share: int, *seeds: bytes) -> Callable[[Place], Reader]:
    def build(place: Place) -> Reader:
        path = place.folder / "file"

        def read(data: bytes) -> None:
            path.write_bytes(data)
            path.chmod(0o600)
            parse(path)

        return Reader(seeds, read, share)

    return build


def _wrapped_keys(text: str, place: Place) -> None:
    keyring = EnvelopeKeyring.from_text(text, kek=_KEK)
    store = stack().encrypt(keyring).over(MemoryStore())
    place.run(store.put("k", 1))
    assert place.run(store.get("k")) == 1


def _mapping(text: str, place: Place) -> None:
    try:
        source = json.loads(text)
    except (ValueError, RecursionError):
        return
    if isinstance(source, dict):
        from_config(source)


def _state_reader(place: Place) -> Reader:
    store = stack().encrypt(Keyring({"a": bytes(32)})).over(MemoryStore())
    place.run(store.put_many(list("abc"), [1, 2, 3]))
    states: list[Any] = []
    place.run(rewrite(store, progress=lambda progress: states.append(progress.state)))

    def read(data: bytes) -> None:
        path = place.folder / "state"
        path.write_bytes(data)
        report = place.run(rewrite(store, resume=path))
        assert str(report)

    return Reader([msgspec.json.encode(states[0]), msgspec.json.encode(states[-1])], read, 5)


def _rows_reader(place: Place) -> Reader:
    path = place.folder / "rows.db"
    store = SQLiteStore(path)
    place.run(store.open())
    place.run(store.put("k", VALUE))
    db = sqlite3.connect(path, isolation_level=None)
    db.text_factory = bytes
    (seed,) = db.execute("SELECT entry FROM kvwrap").fetchone()

    def read(data: bytes) -> None:
        value: Any = data if len(data) % 3 else data.decode(errors="replace")
        expiry: Any = (None, None, None, None, data, 1.5, 2**62, "x")[sum(data) % 8]
        db.execute("UPDATE kvwrap SET entry = ?, expires_at = ?", (value, expiry))
        calls: tuple[Callable[[], Coroutine[Any, Any, Any]], ...]
        calls = (lambda: store.get("k"), lambda: store.ttl("k"), store.keys, store.cull)
        place.run(calls[len(data) % 4]())

    return Reader([seed], read, 8, forge)


def _adapted_reader(place: Place) -> Reader:
    class Wrapped:
        value: Any = None

        async def get(self, key: str, *, collection: str | None = None) -> Any:
            return self.value

        async def ttl(self, key: str, *, collection: str | None = None) -> Any:
            return self.value, None

        async def get_many(self, keys: Any, *, collection: str | None = None) -> Any:
            return [self.value] * len(keys)

        async def ttl_many(self, keys: Any, *, collection: str | None = None) -> Any:
            return [(self.value, None)] * len(keys)

        async def put(self, key: str, value: Any, **options: Any) -> None:
            self.value = value

        async def delete(self, *arguments: Any, **options: Any) -> bool:
            return True

        put_many = delete_many = delete

    wrapped = Wrapped()
    store = stack().encrypt(KEYRING).over(adapt(wrapped))
    place.run(store.put("k", VALUE))
    seeds = [json.dumps(wrapped.value).encode(), JSON.dumps(VALUE)]

    def read(data: bytes) -> None:
        try:
            wrapped.value = json.loads(data.decode(errors="surrogateescape"))
        except (ValueError, RecursionError):
            return
        place.run(store.get("k"))

    return Reader(seeds, read, 30)


_KEK = LocalKEK(bytes(32))
_WRAPPED = asyncio.run(EnvelopeKeyring.generate(_KEK, "d1")).to_text().encode()
_KEYS = KEYRING.reveal_text().encode() + b" # comment\n"
_KEYS_JSON = json.dumps(
    {
        "primary": "a",
        "keys": {"b": {"key": "A" * 43 + "=", "algorithm": "aes-256-gcm"}, "a": "B" * 43 + "="},
    }
).encode()
_TOKEN = FERNET.encrypt(JSON.dumps(VALUE))
_PY_ENCRYPTED = json.dumps(
    {"__encrypted_data__": base64.b64encode(_TOKEN).decode(), "__encryption_version__": 1}
).encode()
_PY_COMPRESSED = json.dumps(
    {
        "__compressed_data__": base64.b64encode(gzip.compress(PLAIN, mtime=0)).decode(),
        "__compression_version__": 1,
        "__compression_algorithm__": "gzip",
    }
).encode()
_LEGACY: list[LegacyReader] = [PyKeyValueEncryption(FERNET), FernetTokens(FERNET)]
_CONFIG = {
    "store": "memory://?max_entries=10",
    "silence": ["retry-twice"],
    "layers": [
        {"type": "statistics", "name": "s"},
        {"type": "read_through", "near": {"type": "memory", "max_entries": 50_000}, "ttl": 30},
        {"type": "prefix_key", "prefix": {"env": "PATH"}},
        {"type": "retry", "on": ["StoreTimeout"]},
    ],
}
_TOML = b"""store = "memory://?max_entries=10"
silence = ["retry-twice"]
[[layers]]
type = "statistics"
[[layers]]
type = "read_through"
near = { type = "memory", max_entries = 50_000 }
ttl = 30
[[layers]]
type = "retry"
on = ["StoreTimeout"]
"""


def _open_both() -> Stack:
    return (
        stack()
        .compress(accept=["gzip", "lz4", "brotli"], legacy=[PyKeyValueCompression()])
        .encrypt(KEYRING, accept_plaintext=True, legacy=_LEGACY)
    )


VALUES = (VALUE, "x" * 500, 7)
READERS: dict[str, Callable[[Place], Reader]] = {
    "entry": _entry_reader,
    "codec": _codec_reader,
    "json": _loads("json", JSON.dumps(VALUE), b"1e10", b'"\\ud83d\\ude00"', b"1" * 30),
    "msgpack": _loads(
        "msgpack", msgspec.msgpack.encode(VALUE), b"\xd6\xff\0\0\0\0", b"\xdd\0\0\0\2\1\2"
    ),
    "bytes": _loads("bytes", b"bytes"),
    "pickle framing": _pickle_framing,
    "zstd": _decompress(
        "zstd",
        zstandard.ZstdCompressor(write_content_size=False).compress(PLAIN),
        zstandard.ZstdCompressor(write_checksum=True).compress(PLAIN),
    ),
    "gzip": _decompress("gzip", zlib.compress(PLAIN, wbits=31)),
    "lz4": _decompress(
        "lz4",
        lz4.frame.compress(PLAIN, store_size=False),
        lz4.frame.compress(PLAIN, content_checksum=True, block_linked=False),
    ),
    "brotli": _decompress("brotli", brotli.compress(PLAIN, quality=11)),
    "zstd dictionary": _dictionary_reader,
    "dictionary record": _record_reader,
    "stack": _stack_reader(stack, *VALUES),
    "stack, msgpack": _stack_reader(lambda: stack().serialize("msgpack"), *VALUES),
    "stack, compressed": _stack_reader(lambda: stack().compress(accept=["lz4"]), *VALUES),
    "stack, aes-256-gcm": _stack_reader(lambda: stack().compress().encrypt(KEYRING), *VALUES),
    "stack, chacha20-poly1305": _stack_reader(
        lambda: stack().encrypt(KEYRING.promoted("b")), VALUE
    ),
    "stack, aes-256-gcm-siv": _stack_reader(lambda: stack().encrypt(KEYRING.promoted("c")), VALUE),
    "stack, migrating": _stack_reader(_open_both, *VALUES),
    "stack, migrating, raw": _stack_reader(
        lambda: _open_both().serialize("json"),
        VALUE,
        raw=True,
        more=[_PY_ENCRYPTED, _PY_COMPRESSED, _TOKEN, b'"' + _TOKEN + b'"', JSON.dumps(VALUE)],
    ),
    "near copy": _near_reader,
    "replica": _replica_reader,
    "Fernet token": _legacy(FernetTokens(FERNET), _TOKEN, b'"' + _TOKEN + b'"'),
    "py-key-value, encrypted": _legacy(PyKeyValueEncryption(FERNET), _PY_ENCRYPTED),
    "py-key-value, compressed": _legacy(PyKeyValueCompression(), _PY_COMPRESSED),
    "keyring": _text(lambda text, _: Keyring.from_text(text), 40, _KEYS, _KEYS_JSON),
    "keyring file": _file(Keyring.from_file, 1, _KEYS, _KEYS_JSON),
    "wrapped keys": _text(_wrapped_keys, 10, _WRAPPED),
    "wrapped key": lambda place: Reader(
        [place.run(_KEK.wrap(bytes(32)))], lambda data: place.run(_KEK.unwrap(data)), 10
    ),
    "TOML": _file(from_config, 2, _TOML),
    "mapping": _text(_mapping, 8, json.dumps(_CONFIG).encode()),
    "URL": _text(
        lambda text, _: store_from_url(text),
        2,
        b"redis://user:password@127.0.0.1:6379/0?timeout=5&namespace=a",
        b"unix:///tmp/redis.sock?db=0",
        b"sqlite:////tmp/x.db?table=t&timeout=1",
        b"memory://?max_entries=5",
    ),
    "state of a rewrite": _state_reader,
    "SQLite row": _rows_reader,
    "adapted store": _adapted_reader,
}
