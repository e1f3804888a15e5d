"""Keys: made, written down, found, refused, rotated, and shown to nobody."""

from __future__ import annotations

import base64
import copy
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import (
    ConfigurationError,
    DecryptionError,
    EnvelopeKeyring,
    Key,
    Keyring,
    LocalKEK,
    MemoryStore,
    StackWarning,
    rewrite,
    stack,
)
from kvwrap.core import codec
from kvwrap.keyring import KeyCalls, WrappedKey

ONE, TWO = b"1" * 32, b"\xff" * 32
TEXT = base64.b64encode(ONE).decode()
URLSAFE = base64.urlsafe_b64encode(TWO).decode()


def test_ids_are_the_beginning_of_the_names_hash() -> None:
    assert Keyring({"2024-06": ONE}).ids == {"2024-06": "55f2d845"}


@pytest.mark.parametrize("given_key", [ONE, bytearray(ONE), TEXT, TEXT.rstrip("="), Key(ONE)])
def test_ways_to_give_a_key(given_key: Any) -> None:
    assert Keyring({"a": given_key}) == Keyring({"a": ONE})


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({}, "at least one key"),
        (None, "at least one key"),
        ([("a", ONE)], "at least one key"),
        ({"": ONE}, "name is a string"),
        ({1: ONE}, "name is a string"),
        ({"a": b"1" * 31}, "32 bytes, and this one is 31"),
        ({"a": b""}, "this one is 0"),
        ({"a": ""}, "this one is 0"),
        ({"a": "not base64!"}, "base64"),
        ({"a": TEXT + "é"}, "base64"),
        ({"a": 5}, "not int"),
        ({"a": ONE, "b": ONE}, "the same bytes"),
    ],
)
def test_keys_that_are_none(keys: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Keyring(keys)


def test_a_primary_key_that_is_not_there() -> None:
    with pytest.raises(ConfigurationError, match="'c' is not in the keyring"):
        Keyring({"a": ONE, "b": TWO}, primary="c")


def test_names_that_come_to_one_id_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "fingerprint", lambda name: b"same")
    with pytest.raises(ConfigurationError, match="same key id"):
        Keyring({"a": ONE, "b": TWO})
    with pytest.raises(ConfigurationError, match="same key id"):
        EnvelopeKeyring({"a": b"x", "b": b"y"}, kek=LocalKEK.generate())


def test_algorithms_have_their_names_checked() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'aes-256-gcm'"):
        Key(ONE, algorithm="aes-256-gmc")


def test_new_keys_differ() -> None:
    assert len({Keyring.generate_key() for _ in range(20)}) == 20
    assert len(Keyring.generate()) == 1
    assert Keyring.generate("a") != Keyring.generate("a")


# -- rotation ------------------------------------------------------------------------------


async def test_rotation_without_downtime() -> None:
    """Two processes, whose keyrings are changed one after the other, read all that either wrote."""
    backend = MemoryStore()
    old = Keyring.generate("2023")
    added = old.with_key("2024")
    promoted = added.promoted("2024")
    retired = promoted.retired("2023")
    steps = [(old, old), (added, old), (added, added), (promoted, added), (promoted, promoted)]
    written: list[str] = []
    for number, pair in enumerate(steps):
        stores = [stack().encrypt(keyring).over(backend) for keyring in pair]
        for who, store in enumerate(stores):
            written.append(f"{number}-{who}")
            await store.put(written[-1], number)
        for store in stores:
            assert None not in await store.get_many(written)

    report = await rewrite(stack().encrypt(promoted).over(backend))
    assert report.keys == {"2024": len(written)}
    assert report.retirable == ["2023"]
    last = stack().encrypt(retired).over(backend)
    assert None not in await last.get_many(written)


def test_a_keyring_is_a_value() -> None:
    first = Keyring({"a": ONE})
    second = first.with_key("b", TWO)
    assert (first.names, second.names, second.primary) == (("a",), ("a", "b"), "a")
    assert second.promoted("b").primary == "b"
    assert second.primary == "a"
    assert second.promoted("b").retired("a").names == ("b",)
    assert second == Keyring({"a": ONE, "b": TWO})
    assert second != second.promoted("b")
    assert hash(first) == hash(Keyring({"a": ONE}))
    assert copy.deepcopy(second) is second
    assert copy.copy(second) is second


def test_changes_that_cannot_be() -> None:
    keyring = Keyring({"a": ONE, "b": TWO})
    with pytest.raises(ConfigurationError, match="already"):
        keyring.with_key("a")
    with pytest.raises(ConfigurationError, match="no key 'c'"):
        keyring.promoted("c")
    with pytest.raises(ConfigurationError, match="no key 'c'"):
        keyring.retired("c")
    with pytest.raises(ConfigurationError, match="promote another"):
        keyring.retired("a")
    with pytest.raises(ConfigurationError, match="this one is 0"):
        keyring.with_key("c", b"")


# -- written down --------------------------------------------------------------------------

FORMS = [
    f"new:{TEXT},old:chacha20-poly1305:{URLSAFE}",
    f"new:{TEXT} old:chacha20-poly1305:{URLSAFE}",
    f"# keys\nnew:{TEXT}  # since June\n\nold:chacha20-poly1305:{URLSAFE}\n",
    json.dumps(
        {
            "primary": "new",
            "keys": {"old": {"key": URLSAFE, "algorithm": "chacha20-poly1305"}, "new": TEXT},
        }
    ),
]


@pytest.mark.parametrize("text", FORMS)
def test_forms_of_the_text(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wanted = Keyring({"new": ONE, "old": Key(TWO, algorithm="chacha20-poly1305")}, primary="new")
    assert Keyring.from_text(text) == wanted
    monkeypatch.setenv("KEYS", text)
    found = Keyring.from_env("KEYS")
    assert found == wanted
    assert found.reference == {"env": "KEYS"}
    assert found.algorithm("old") == "chacha20-poly1305"
    path = tmp_path / "keys"
    path.write_text(text)
    path.chmod(0o600)
    assert Keyring.from_file(path) == wanted
    assert Keyring.from_file(path).reference == {"file": str(path)}


@given(
    st.lists(st.text("abc-.0é", min_size=1, max_size=8), min_size=1, max_size=4, unique=True),
    st.data(),
)
def test_text_brings_a_keyring_back(names: list[str], data: st.DataObject) -> None:
    keys = {
        name: Key(bytes([number]) * 32, algorithm=data.draw(st.sampled_from(ALGORITHMS)))
        for number, name in enumerate(names)
    }
    keyring = Keyring(keys, primary=data.draw(st.sampled_from(names)))
    assert Keyring.from_text(keyring.reveal_text()) == keyring


ALGORITHMS: Any = ("aes-256-gcm", "chacha20-poly1305", "aes-256-gcm-siv")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there is no key"),
        (" ,\n", "there is no key"),
        ("# nothing", "there is no key"),
        (TEXT, "key number 1"),
        (f"a:{TEXT},{URLSAFE}", "key number 2"),
        (f":{TEXT}", "key number 1"),
        (f"{TEXT}:a", "looks like a key"),
        (f"a:{TEXT},a:{URLSAFE}", "two keys are called 'a'"),
        (f"a:rot13:{TEXT}", "no algorithm is called 'rot13'"),
        ("a:AAAA", "key 'a': a key is 32 bytes, and this one is 3"),
        ("a:%%%%", "base64"),
        ("{", "not valid JSON"),
        ("{}", "the JSON form is"),
        ('{"keys": {}}', "the JSON form is"),
        ('{"keys": {"a": 1}}', "key 'a' is neither"),
        (f'{{"keys": {{"a": "{TEXT}"}}, "primary": "b"}}', "'b' is not in the keyring"),
        (f'{{"keys": {{"a": "{TEXT}"}}, "primary": []}}', "primary is the name"),
        (f'{{"keys": {{"a": "{TEXT}"}}, "main": "a"}}', "the JSON form is"),
        (f'{{"keys": {{"a": {{"key": "{TEXT}", "algo": "x"}}}}}}', "key 'a' is neither"),
    ],
)
def test_texts_that_are_none(text: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYS", text)
    with pytest.raises(ConfigurationError, match=says) as caught:
        Keyring.from_env("KEYS")
    assert "KEYS" in str(caught.value)
    shown = f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"
    assert TEXT.rstrip("=") not in shown
    assert URLSAFE.rstrip("=") not in shown


def test_a_variable_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_KEYS", raising=False)
    with pytest.raises(ConfigurationError, match="the environment has no NO_KEYS"):
        Keyring.from_env("NO_KEYS")
    with pytest.raises(ConfigurationError, match="the environment has no NO_KEYS"):
        LocalKEK.from_env("NO_KEYS")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="FileNotFoundError"):
        Keyring.from_file(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="UnicodeDecodeError"):
        Keyring.from_file(tmp_path / "binary")


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_a_file_that_everybody_can_read_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"a:{TEXT}")
    path.chmod(0o644)
    with pytest.warns(StackWarning, match="key-file-open"):
        Keyring.from_file(path)


def test_a_name_that_the_compact_form_cannot_hold() -> None:
    with pytest.raises(ConfigurationError, match="'a b'"):
        Keyring({"a b": ONE}).reveal_text()


# -- shown to nobody -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "thing",
    [
        Key(ONE),
        Keyring({"a": ONE, "b": TWO}),
        LocalKEK(ONE),
        Keyring.from_callable(lambda: {"a": ONE}),
        EnvelopeKeyring({"a": b"1" * 40}, kek=LocalKEK(ONE)),
    ],
)
def test_no_repr_shows_a_key_and_no_pickle_holds_one(thing: Any) -> None:
    for text in (repr(thing), str(thing), f"{thing}", repr([thing])):
        assert "1111" not in text
        assert TEXT[:8] not in text
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(thing)


# -- wrapped keys --------------------------------------------------------------------------


async def test_wrapping_is_undone_only_by_the_same_key() -> None:
    kek = LocalKEK(ONE)
    wrapped = await kek.wrap(TWO)
    assert len(wrapped) == 40
    assert await kek.unwrap(wrapped) == TWO
    for other, data in ((LocalKEK(TWO), wrapped), (kek, wrapped[:-1]), (kek, b"")):
        with pytest.raises(DecryptionError):
            await other.unwrap(data)
    assert LocalKEK(kek.reveal_text()).reveal_text() == TEXT.replace("+", "-").replace("/", "_")


async def test_a_key_service_behind_two_plain_functions() -> None:
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


async def test_wrapped_keys_are_written_down(
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
    for found in (
        EnvelopeKeyring.from_file(path, kek=kek),
        EnvelopeKeyring.from_env("WRAPPED", kek=kek),
    ):
        assert (found.primary, set(found.names)) == ("d2", {"d1", "d2"})
        assert await stack().encrypt(found).over(backend).get("k") == 1
    assert keyring.retired("d1").names == ("d2",)
    with pytest.raises(ConfigurationError, match="promote another"):
        keyring.retired("d2")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"keys": {}}, "at least one wrapped key"),
        ({"kek": object()}, "wrap and unwrap"),
        ({"max_keys": 0}, "max_keys"),
        ({"max_age": 0}, "ttl"),
        ({"primary": "b"}, "no key 'b'"),
        ({"keys": {"a": WrappedKey(b"", "rot13")}}, "rot13"),
    ],
)
def test_envelopes_that_cannot_work(arguments: dict[str, Any], says: str) -> None:
    good: dict[str, Any] = {"keys": {"a": b"1" * 40}, "kek": LocalKEK(ONE)}
    with pytest.raises(ValueError, match=says):
        EnvelopeKeyring(**good | arguments)


@pytest.mark.parametrize(("fetch", "refresh"), [(None, None), ("x", None), (dict, 0), (dict, -1)])
def test_live_keyrings_that_cannot_work(fetch: Any, refresh: Any) -> None:
    with pytest.raises(ValueError):
        Keyring.from_callable(fetch, refresh=refresh)
