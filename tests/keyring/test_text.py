"""Keyrings as text: the compact form, JSON, environment variables and files."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import ConfigurationError, Key, Keyring, LocalKEK, StackWarning
from kvwrap.keyring.text import parse

ONE, TWO = b"1" * 32, b"\xff" * 32
TEXT = base64.b64encode(ONE).decode()
URLSAFE = base64.urlsafe_b64encode(TWO).decode()

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
    loaded = Keyring.from_env("KEYS")
    assert loaded == wanted
    assert loaded.reference == {"env": "KEYS"}
    assert loaded.algorithm("old") == "chacha20-poly1305"
    path = tmp_path / "keys"
    path.write_text(text)
    path.chmod(0o600)
    assert Keyring.from_file(path) == wanted
    assert Keyring.from_file(path).reference == {"file": str(path)}


@given(
    st.lists(st.text("abc-.0é", min_size=1, max_size=8), min_size=1, max_size=4, unique=True),
    st.data(),
)
def test_a_keyring_survives_its_text(names: list[str], data: st.DataObject) -> None:
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
        ("", "at least one key"),
        (" ,\n", "at least one key"),
        ("# nothing", "at least one key"),
        (TEXT, "key number 1"),
        (f"a:{TEXT},{URLSAFE}", "key number 2"),
        (f":{TEXT}", "key number 1"),
        (f"{TEXT}:a", "look like a key"),
        (f"a:{TEXT},a:{URLSAFE}", "two keys have the name 'a'"),
        (f"a:{TEXT}:b:{URLSAFE}", "a text of"),
        (f'{{"keys": {{"{TEXT}": 1}}}}', "a name that looks like a key"),
        (f"a:rot13:{TEXT}", "unknown algorithm, 'rot13'"),
        ("a:AAAA", "key 'a': a key must have 32 bytes; got 3"),
        ("a:%%%%", "base64"),
        ("{", "must be valid JSON"),
        ("{}", "the JSON form must be"),
        ('{"keys": {}}', "the JSON form must be"),
        ('{"keys": {"a": 1}}', "key 'a' must be"),
        (f'{{"keys": {{"a": "{TEXT}"}}, "primary": "b"}}', "no key 'b'"),
        (f'{{"keys": {{"a": "{TEXT}"}}, "primary": "{TEXT}"}}', "a name that looks like a key"),
        (f'{{"keys": {{"a": "{TEXT}"}}, "primary": []}}', "primary` must be the name"),
        (f'{{"keys": {{"a": "{TEXT}"}}, "main": "a"}}', "the JSON form must be"),
        (f'{{"keys": {{"a": {{"key": "{TEXT}", "algo": "x"}}}}}}', "key 'a' must be"),
    ],
)
def test_invalid_texts_are_refused(text: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYS", text)
    with pytest.raises(ConfigurationError, match=says) as caught:
        Keyring.from_env("KEYS")
    assert "KEYS" in str(caught.value)
    shown = f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"
    assert TEXT.rstrip("=") not in shown
    assert URLSAFE.rstrip("=") not in shown


def test_a_text_is_unicode_without_lone_surrogates() -> None:
    for char in "\ud800\udbff\udc00\udfff":
        with pytest.raises(ConfigurationError, match="must be UTF-8"):
            Keyring.from_text(f"a{char}:{TEXT}")
    for char in "\ud7ff\ue000\U0001f511":
        assert Keyring.from_text(f"a{char}:{TEXT}").primary == f"a{char}"


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_KEYS", raising=False)
    with pytest.raises(ConfigurationError, match="environment variable NO_KEYS"):
        Keyring.from_env("NO_KEYS")
    with pytest.raises(ConfigurationError, match="environment variable NO_KEYS"):
        LocalKEK.from_env("NO_KEYS")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="FileNotFoundError"):
        Keyring.from_file(tmp_path / "none")
    (tmp_path / "binary").touch(mode=0o600)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="must be UTF-8"):
        Keyring.from_file(tmp_path / "binary")


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_a_file_that_every_user_can_read_causes_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"a:{TEXT}")
    path.chmod(0o644)
    with pytest.warns(StackWarning, match="key-file-open") as caught:
        Keyring.from_file(path)
    assert [each.filename for each in caught] == [__file__]


def test_a_name_that_the_compact_form_cannot_hold() -> None:
    with pytest.raises(ConfigurationError, match="'a b'"):
        Keyring({"a b": ONE}).reveal_text()


def test_a_parsed_text_shows_names_only() -> None:
    shown = repr(parse(f"2026:{TEXT}", "the text"))
    assert "2026" in shown
    assert "1111" not in shown
