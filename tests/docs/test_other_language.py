"""A reader in another language, written from `docs/format.md`, reads what kvwrap writes."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kvwrap import Keyring, MemoryStore, SQLiteStore, Stack, stack
from kvwrap.core.primitives import Collection
from kvwrap.testing import ManualClock
from kvwrap.testing.servers import MissingServerError, find_server

READER = Path(__file__).parent / "readers" / "reader.js"
PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
KEYS = {"2026": bytes(range(32)), "2025": bytes(range(32, 64))}
RING = Keyring(KEYS)
VALUES: list[Any] = [
    {"n": 1, "text": "ÅΩ \U0001f600", "list": [None, True, 0.5, -7, "", {}]},
    "the same words again and again " * 40,
    [],
    None,
    0,
]
NAMES: list[tuple[Collection, str]] = [
    (None, "ada"),
    ("users", "ada"),
    ("Ω", "\U0001f600"),
    ("u", "sersada"),
]
STACKS: dict[str, Stack] = {
    "json": stack(),
    "gzip": stack().compress("gzip", min_size=0),
    "brotli": stack().compress("brotli", min_size=0),
    "aes-gcm": stack().encrypt(RING),
    "gzip and aes-gcm": stack().compress("gzip", min_size=0).encrypt(RING),
    "aes-gcm with a context": stack().encrypt(RING, context=b"app"),
    "replicated": stack().encrypt(RING).replicate([MemoryStore]),
}


def read(*requests: dict[str, Any]) -> list[dict[str, Any]]:
    """Give entries to the program. Returns what it says of each."""
    node = find_server("node")
    if node is None:
        raise MissingServerError("install Node.js 20 or later, which azurite-blob needs too")
    result = subprocess.run(
        [node, str(READER)],
        input="".join(f"{json.dumps(request)}\n" for request in requests),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def request(entry: bytes, name: tuple[Collection, str], now: float, context: bytes = b"") -> Any:
    return {
        "entry": entry.hex(),
        "collection": name[0],
        "key": name[1],
        "now": now,
        "keys": {key: material.hex() for key, material in KEYS.items()},
        "context": context.hex(),
    }


@pytest.mark.parametrize("layers", STACKS)
async def test_every_value_is_read(layers: str, clock: ManualClock) -> None:
    backend = MemoryStore(clock=clock)
    store = STACKS[layers].over(backend)
    context = b"app" if "context" in layers else b""
    requests, expected = [], []
    async with store:
        for value in VALUES:
            for name in NAMES:
                for ttl in (None, 60):
                    await store.put(name[1], value, collection=name[0], ttl=ttl)
                    (entry,) = await backend.read(name[0], [name[1]])
                    assert entry is not None
                    data = entry.to_bytes(*name)
                    for later in (0, 59, 61):
                        requests.append(request(data, name, clock.time() + later, context))
                        gone = later == 61 and ttl == 60
                        expected.append({"missing": True} if gone else {"value": value})
    assert read(*requests) == expected


async def test_the_bytes_of_a_file_are_read(tmp_path: Path) -> None:
    async with stack().encrypt(RING).over(SQLiteStore(tmp_path / "a.db")) as store:
        await store.put("ada", VALUES[0], collection="users")
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        ((data,),) = connection.execute("SELECT entry FROM kvwrap WHERE key = 'ada'")
    assert read(request(data, ("users", "ada"), 0)) == [{"value": VALUES[0]}]


async def test_a_stale_value_is_missing(clock: ManualClock) -> None:
    backend = MemoryStore(clock=clock)

    async def value() -> int:
        return 5

    await backend.get_or_put("k", value, ttl=10, stale_ttl=100)
    (entry,) = await backend.read(None, ["k"])
    assert entry is not None
    data = entry.to_bytes(None, "k")
    requests = [request(data, (None, "k"), clock.time() + later) for later in (9, 11)]
    assert read(*requests) == [{"value": 5}, {"missing": True}]


async def test_what_was_altered_is_refused(clock: ManualClock) -> None:
    backend = MemoryStore(clock=clock)
    await stack().encrypt(RING).over(backend).put("ada", 1)
    (entry,) = await backend.read(None, ["ada"])
    assert entry is not None
    data, name = entry.to_bytes(None, "ada"), (None, "ada")
    altered = bytearray(data)
    altered[-1] ^= 1
    forged = entry.with_body(entry.body[:-1] + b"\0", entry.codec).to_bytes(*name)
    told = read(
        request(data, name, 0),
        request(bytes(altered), name, 0),
        request(data, (None, "bob"), 0),
        request(forged, name, 0),
        request(data, name, 0, b"another context"),
        {**request(data, name, 0), "keys": {"2025": KEYS["2025"].hex()}},
        {**request(data, name, 0), "keys": {"2026": KEYS["2025"].hex()}},
    )
    assert told[0] == {"value": 1}
    assert [*told[1], *told[2], *told[3], *told[4], *told[5], *told[6]] == ["error"] * 6


def test_the_examples_of_the_page_are_read() -> None:
    examples = [bytes.fromhex(each) for each in re.findall(r"```hex\n(.*?)```", PAGE, re.DOTALL)]
    for now, expected in ((1767225600, {"value": {"n": 1}}), (1767229200, {"missing": True})):
        requests = [request(example, ("users", "ada"), now) for example in examples]
        assert read(*requests) == [expected] * 2
