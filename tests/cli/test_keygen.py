"""`kvwrap keygen`: new keys with names."""

from __future__ import annotations

import pytest

from kvwrap import Key, Keyring
from kvwrap.cli.main import main


def keygen(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["keygen", *arguments]) == 0
    return capsys.readouterr().out


def test_name_and_algorithm_are_those_of_the_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    keyring = Keyring.from_text(keygen(capsys, "2026-11", "--algorithm", "chacha20-poly1305"))
    assert keyring.primary == "2026-11"
    assert keyring.algorithm("2026-11") == "chacha20-poly1305"
    assert Keyring.from_text(keygen(capsys, "2026-11")) != keyring


def test_two_keys_without_a_name_get_two_names(capsys: pytest.CaptureFixture[str]) -> None:
    """Both keys can be put into one keyring, as a rotation needs."""
    both = Keyring.from_text(keygen(capsys) + keygen(capsys))
    assert len(both) == 2


@pytest.mark.parametrize("name", ["{key}", "app:{key}", "app:aes-256-gcm:{key}", "app:secret", ":"])
def test_a_key_is_no_name_and_is_not_shown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    key = Key.generate().reveal_text()
    assert main(["keygen", name.format(key=key)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert key not in captured.err
    assert "secret" not in captured.err
    assert "NAME must be the name of a new key" in captured.err


def test_a_name_that_the_text_cannot_hold_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen", "two words"]) == 2
    captured = capsys.readouterr()
    assert "'two words'" in captured.err
    assert not captured.out
