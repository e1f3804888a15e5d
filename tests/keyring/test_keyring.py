"""Keyrings: valid and invalid keys, rotation, and no key in any repr or error."""

from __future__ import annotations

import base64
import copy
import pickle
from typing import Any

import pytest

from kvwrap import (
    ConfigurationError,
    EnvelopeKeyring,
    Key,
    Keyring,
    LocalKEK,
    MemoryStore,
    rewrite,
    stack,
)
from kvwrap.core import codec

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
        ({}, "at least one key; got an empty mapping"),
        (None, "at least one key; got NoneType"),
        ([("a", ONE)], "at least one key"),
        ({"": ONE}, "name must be a string .* got an empty one"),
        ({1: ONE}, "name must be a string .* got int"),
        ({"a": b"1" * 31}, "32 bytes; got 31"),
        ({"a": b""}, "got 0"),
        ({"a": ""}, "got 0"),
        ({"a": "not base64!"}, "base64"),
        ({"a": TEXT + "é"}, "base64"),
        ({"a": 5}, "got int"),
        ({"a": ONE, "b": ONE}, "the same bytes"),
    ],
)
def test_invalid_keys_are_refused(keys: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Keyring(keys)


def test_an_unknown_primary_key_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no key 'c'"):
        Keyring({"a": ONE, "b": TWO}, primary="c")


def test_names_with_the_same_id_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "fingerprint", lambda name: b"same")
    with pytest.raises(ConfigurationError, match="same key id"):
        Keyring({"a": ONE, "b": TWO})
    with pytest.raises(ConfigurationError, match="same key id"):
        EnvelopeKeyring({"a": b"x", "b": b"y"}, kek=LocalKEK.generate())


def test_an_unknown_algorithm_is_refused() -> None:
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
        for process, store in enumerate(stores):
            written.append(f"{number}-{process}")
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


def test_invalid_changes_are_refused() -> None:
    keyring = Keyring({"a": ONE, "b": TWO})
    with pytest.raises(ConfigurationError, match="already"):
        keyring.with_key("a")
    with pytest.raises(ConfigurationError, match="no key 'c'"):
        keyring.promoted("c")
    with pytest.raises(ConfigurationError, match="no key 'c'"):
        keyring.retired("c")
    with pytest.raises(ConfigurationError, match="promote another"):
        keyring.retired("a")
    with pytest.raises(ConfigurationError, match="got 0"):
        keyring.with_key("c", b"")


# -- secrecy -------------------------------------------------------------------------------


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
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(thing)


@pytest.mark.parametrize("keys", [{ONE: "a"}, {TEXT: "a"}, {URLSAFE: ""}, {"a": ONE.decode()}])
def test_no_error_shows_a_key(keys: Any) -> None:
    """Also if name and key are in the wrong order."""
    with pytest.raises(ConfigurationError) as caught:
        Keyring(keys)
    for secret in ("1111", TEXT[:8], URLSAFE[:8]):
        assert secret not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"


def test_an_algorithm_that_may_be_a_key_is_not_shown() -> None:
    with pytest.raises(ConfigurationError, match="a text of 44 characters") as caught:
        Key(ONE, algorithm=TEXT)
    assert TEXT[:8] not in str(caught.value)
