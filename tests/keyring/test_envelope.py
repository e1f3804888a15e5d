"""Envelope encryption: data keys wrapped, unwrapped, cached and rotated."""

from __future__ import annotations

import asyncio
import base64
import copy
import inspect
from pathlib import Path
from typing import Any

import pytest

from kvwrap import (
    ConfigurationError,
    DecryptionError,
    Encryption,
    EnvelopeKeyring,
    LocalKEK,
    MemoryStore,
    StoreUnavailable,
    stack,
)
from kvwrap.keyring import KeyCalls, WrappedKey
from kvwrap.testing import ManualClock

ONE, TWO = b"1" * 32, b"\xff" * 32
TEXT = base64.b64encode(ONE).decode()


async def test_only_the_same_key_unwraps() -> None:
    kek = LocalKEK(ONE)
    wrapped = await kek.wrap(TWO)
    assert len(wrapped) == 40
    assert await kek.unwrap(wrapped) == TWO
    for other, data in ((LocalKEK(TWO), wrapped), (kek, wrapped[:-1]), (kek, b"")):
        with pytest.raises(DecryptionError):
            await other.unwrap(data)
    assert LocalKEK(kek.reveal_text()).reveal_text() == TEXT.replace("+", "-").replace("/", "_")
    assert copy.copy(kek) is kek
    assert copy.deepcopy(kek) is kek


async def test_a_key_service_of_two_functions_that_are_not_async() -> None:
    calls = KeyCalls(
        unwrap=lambda data: bytes(255 - b for b in data),
        wrap=lambda data: bytes(255 - b for b in data),
    )
    keyring = await EnvelopeKeyring.generate(calls, "d1", algorithm="chacha20-poly1305")
    store = stack().encrypt(keyring).over(MemoryStore())
    await store.put("k", {"n": 1})
    assert await store.get("k") == {"n": 1}
    assert keyring.to_text().startswith("d1:chacha20-poly1305:")
    assert "turned" not in repr(calls)


async def test_wrapped_keys_are_read_from_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kek = LocalKEK.generate()
    keyring = await (await EnvelopeKeyring.generate(kek, "d1")).with_key("d2")
    keyring = keyring.promoted("d2")
    backend = MemoryStore()
    await stack().encrypt(keyring).over(backend).put("k", 1)
    path = tmp_path / "wrapped"
    path.write_text(keyring.to_text())
    monkeypatch.setenv("WRAPPED", keyring.to_text())
    for loaded in (
        EnvelopeKeyring.from_file(path, kek=kek),
        EnvelopeKeyring.from_env("WRAPPED", kek=kek),
    ):
        assert (loaded.primary, set(loaded.names)) == ("d2", {"d1", "d2"})
        assert await stack().encrypt(loaded).over(backend).get("k") == 1
    assert keyring.retired("d1").names == ("d2",)
    with pytest.raises(ConfigurationError, match="promote another"):
        keyring.retired("d2")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"keys": {}}, "at least one wrapped key"),
        ({"kek": object()}, "wrap and unwrap"),
        ({"max_keys": 0}, "max_keys"),
        ({"max_age": 0}, "`max_age`"),
        ({"primary": "b"}, "no key 'b'"),
        ({"keys": {"a": WrappedKey(b"", "rot13")}}, "rot13"),
        ({"keys": {"a": 5}}, "a wrapped key must be bytes.* got int"),
        ({"keys": {"a": [1, 2]}}, "got list"),
        ({"keys": {"a": None}}, "got NoneType"),
        ({"keys": {"a": WrappedKey(5)}}, "got int"),  # type: ignore[arg-type]
        ({"keys": {"a": WrappedKey("text")}}, "got str"),  # type: ignore[arg-type]
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, Any], says: str) -> None:
    valid: dict[str, Any] = {"keys": {"a": b"1" * 40}, "kek": LocalKEK(ONE)}
    with pytest.raises(ValueError, match=says):
        EnvelopeKeyring(**valid | arguments)


def test_every_way_to_a_keyring_has_the_same_defaults() -> None:
    def defaults(function: Any) -> dict[str, object]:
        return {
            name: parameter.default
            for name, parameter in inspect.signature(function).parameters.items()
            if name in ("max_age", "max_keys")
        }

    ways = (
        EnvelopeKeyring.generate,
        EnvelopeKeyring.from_text,
        EnvelopeKeyring.from_env,
        EnvelopeKeyring.from_file,
    )
    for way in ways:
        assert defaults(way) == defaults(EnvelopeKeyring) == {"max_age": 3600, "max_keys": 64}


class CountingKEK(LocalKEK):
    """Counts its calls, and fails while `broken` is set."""

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


async def test_data_keys_are_unwrapped_once_and_cached_for_a_time(
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


async def test_more_data_keys_than_are_cached(kek: CountingKEK) -> None:
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
    rewrapped = await keyring.rewrapped(other)
    text = rewrapped.to_text()
    for moved in (rewrapped, EnvelopeKeyring.from_text(text, kek=other)):
        assert await stack().encrypt(moved).over(backend).get("k") == 1
    grown = (await rewrapped.with_key("d2")).promoted("d2")
    await stack().encrypt(grown).over(backend).put("new", 2)
    reopened = EnvelopeKeyring.from_text(grown.to_text(), kek=other)
    assert await stack().encrypt(reopened).over(backend).get_many(["k", "new"]) == [1, 2]
    stale = EnvelopeKeyring.from_text(text, kek=kek)
    with pytest.raises(DecryptionError):
        await stack().encrypt(stale).over(backend).get("k")
