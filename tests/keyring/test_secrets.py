"""No key is shown: whatever is in the wrong place, and however an object is looked at."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kvwrap import (
    Encryption,
    EnvelopeKeyring,
    Key,
    Keyring,
    KvwrapError,
    LocalKEK,
    MemoryStore,
    StoreUnavailable,
    from_config,
    stack,
)
from kvwrap.testing import ManualClock

KEY, OTHER = Key.generate().reveal_text(), Key.generate().reveal_text()
HEX = Key(KEY).reveal().hex()
TEXT = f"2026:{KEY}"


def forms(key: str) -> list[str]:
    """Return what must not be found: the key as text, as digits and as Python shows bytes."""
    material = Key(key).reveal()
    return [key[:20], material.hex()[:20], repr(material)[2:20]]


def assert_hidden(shown: str) -> None:
    for form in (*forms(KEY), *forms(OTHER)):
        assert form not in shown


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error with everything that hangs on it, also what a traceback leaves out."""
    while error is not None:
        yield error
        yield from chain(error.__cause__)
        error = error.__context__


MISTAKES: dict[str, Callable[[], object]] = {
    "algorithm and key in the wrong order": lambda: Keyring.from_text(f"2026:{KEY}:aes-256-gcm"),
    "name and key in the wrong order": lambda: Keyring.from_text(f"{KEY}:2026"),
    "separated by a semicolon": lambda: Keyring.from_text(f"{TEXT};2025:{OTHER}"),
    "quoted": lambda: Keyring.from_text(f'"{TEXT}"'),
    "quoted, in the wrong order": lambda: Keyring.from_text(f'"{KEY}":2026'),
    "no name": lambda: Keyring.from_text(KEY),
    "a name twice": lambda: Keyring.from_text(f"{TEXT},2026:{OTHER}"),
    "two keys and no name": lambda: Keyring.from_text(f"{KEY}:{OTHER}"),
    "not Unicode": lambda: Keyring.from_text(f"{TEXT}\udc80"),
    "broken JSON": lambda: Keyring.from_text(f'{{"keys": {{"a": "{KEY}"'),
    "JSON that is not Unicode": lambda: Keyring.from_text(f'{{"keys": {{"a": "{KEY}\udc80"}}}}'),
    "JSON, key as primary": lambda: Keyring.from_text(
        f'{{"primary": "{KEY}", "keys": {{"a": "{KEY}"}}}}'
    ),
    "JSON, key as name": lambda: Keyring.from_text(f'{{"keys": {{"{KEY}": {{"x": 1}}}}}}'),
    "mapping of keys to names": lambda: Keyring({KEY: "2026"}),
    "mapping of keys to keys": lambda: Keyring({KEY: OTHER}),
    "mapping of digits to keys": lambda: Keyring({HEX: OTHER}),
    "key as primary": lambda: Keyring({"a": KEY}, primary=OTHER),
    "key to promote": lambda: Keyring({"a": KEY}).promoted(KEY),
    "key to retire": lambda: Keyring({"a": KEY}).retired(KEY),
    "key as the name of a new key": lambda: Keyring({"a": KEY}).with_key(OTHER),
    "key as the name to generate": lambda: Keyring.generate(KEY),
    "key as algorithm": lambda: Key(OTHER, algorithm=KEY),
    "short key": lambda: Key(KEY[:-8]),
    "key in hexadecimal": lambda: Key(HEX),
    "one key twice": lambda: Keyring({"a": KEY, "b": KEY}),
    "key as environment variable": lambda: Keyring.from_env(KEY),
    "keys as environment variable": lambda: Keyring.from_env(TEXT),
    "keys as file": lambda: Keyring.from_file(TEXT),
    "digits as file": lambda: Keyring.from_file(HEX),
    "key-encryption key as variable": lambda: LocalKEK.from_env(KEY),
    "key as keyring": lambda: Encryption(KEY),  # type: ignore[arg-type]
    "key as context": lambda: Encryption(Keyring({"a": KEY}), context=KEY),  # type: ignore[arg-type]
    "wrapped key that is no key": lambda: EnvelopeKeyring({"a": KEY + "!"}, kek=LocalKEK(OTHER)),
    "key as the key service": lambda: EnvelopeKeyring({"a": b"w"}, kek=KEY),  # type: ignore[arg-type]
    "key in a configuration": lambda: from_config(
        {"store": "memory://", "layers": [{"type": "encrypt", "keyring": TEXT}]}
    ),
    "key as a reference": lambda: from_config(
        {"store": "memory://", "layers": [{"type": "encrypt", "keyring": {"env": TEXT}}]}
    ),
}


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_no_error_shows_a_key(mistake: str) -> None:
    with pytest.raises(KvwrapError) as caught:
        MISTAKES[mistake]()
    assert_hidden("".join(traceback.format_exception(caught.value)))
    for error in chain(caught.value):
        assert_hidden(f"{error!r} {error} {error.args} {vars(error)}")


def test_no_error_shows_a_key_from_a_file_or_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys"
    path.touch(mode=0o600)
    for content in (f"2026:{KEY}:aes-256-gcm", f"{TEXT};2025:{OTHER}", f"{TEXT}\udcff"):
        path.write_bytes(content.encode(errors="surrogateescape"))
        monkeypatch.setenv("TEST_KEYS", content)
        for load, source in ((Keyring.from_file, path), (Keyring.from_env, "TEST_KEYS")):
            with pytest.raises(KvwrapError) as caught:
                load(source)  # type: ignore[arg-type]
            for error in chain(caught.value):
                assert_hidden(f"{error!r} {error} {error.args} {vars(error)}")


async def test_no_log_shows_a_key(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    texts = iter([TEXT, f"2027:{OTHER}, 2026:{KEY}:aes-256-gcm"])
    keyring = Keyring.from_callable(lambda: Keyring.from_text(next(texts)), refresh=1)
    store = stack().encrypt(keyring).over(MemoryStore(clock=clock))
    with caplog.at_level(logging.DEBUG):
        asyncio.get_running_loop().set_debug(True)
        await store.put("k", 1)
        clock.advance(2)
        await store.put("k", 2)
    assert "continuing with the cached keys" in caplog.text
    for record in caplog.records:
        assert_hidden(f"{record.getMessage()} {record.args} {vars(record)}")


def objects() -> dict[str, Any]:
    keyring = Keyring({"2026": KEY, "2025": OTHER})
    store = stack().encrypt(keyring).over(MemoryStore())
    return {
        "key": Key(KEY),
        "keyring": keyring,
        "cipher": keyring.cipher("2026"),
        "bound keys": keyring.bind(ManualClock()),
        "fetched keyring": Keyring.from_callable(lambda: keyring),
        "key-encryption key": LocalKEK(KEY),
        "envelope keyring": EnvelopeKeyring({"a": b"wrapped"}, kek=LocalKEK(KEY)),
        "layer": store.find(Encryption),
        "stack": stack().encrypt(keyring),
        "store": store,
    }


def looked_at(item: Any, depth: int = 4) -> Iterator[str]:
    """Yield an object as text, in every way that a log or a debugger uses."""
    yield f"{item!r} {item} {item:}"
    if depth and not isinstance(item, str | bytes | int | float | None):
        inside = vars(item) if hasattr(item, "__dict__") else {}
        yield repr(inside)
        values = list(inside.values())
        if isinstance(item, dict):
            values += item.values()
        for value in values:
            if type(value).__module__.startswith("kvwrap") or isinstance(value, dict):
                yield from looked_at(value, depth - 1)


@pytest.mark.parametrize("name", objects())
def test_no_object_shows_a_key(name: str) -> None:
    item = objects()[name]
    for text in looked_at(item):
        assert_hidden(text)

    @dataclasses.dataclass
    class Settings:
        item: Any

    if name != "store":  # a store has no copy
        assert_hidden(repr(dataclasses.asdict(Settings(item))))
        assert_hidden(repr(copy.copy(item)))
    assert_hidden(repr(Settings(item)))


@pytest.mark.parametrize("name", objects())
def test_no_object_is_pickled_or_encoded_with_its_key(name: str) -> None:
    item = objects()[name]
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)) as caught:
            pickle.dumps(item, protocol)
        assert_hidden(repr(caught.value))
    with pytest.raises((TypeError, ValueError)):
        msgspec.json.encode(item)


async def test_an_unwrapped_key_of_a_wrong_length_is_not_shown() -> None:
    class Service:
        def unwrap(self, wrapped: bytes) -> bytes:
            return Key(KEY).reveal()[:-1]

        def wrap(self, material: bytes) -> bytes:
            raise ValueError("refused")

    store = stack().encrypt(EnvelopeKeyring({"a": b"w"}, kek=Service())).over(MemoryStore())
    with pytest.raises(KvwrapError) as caught:
        await store.put("k", 1)
    with pytest.raises(StoreUnavailable) as refused:
        await EnvelopeKeyring.generate(Service())
    for error in (*chain(caught.value), *chain(refused.value)):
        assert_hidden(f"{error!r} {error.args}")
