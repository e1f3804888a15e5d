"""Entries as lines of JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kvwrap import InvalidValue, SerializationError
from kvwrap.copying.batch import Item
from kvwrap.copying.lines import line_of, parse_line


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (None, "value"),
        ({"a": [1, 2.5, "é\x00", None, True]}, "value"),
        (2**70, "value"),
        ("", "value"),
        (b"\x00\xff", "bytes"),
        (b"", "bytes"),
        ([b"ab", {"c": b"d"}], "msgpack"),
    ],
)
def test_a_value_survives(value: Any, form: str) -> None:
    line = line_of("users", Item("k\n", value, 5.0), 100.0)
    assert b"\n" not in line
    assert set(json.loads(line)) == {"collection", "key", form, "expires_at"}
    parsed = parse_line(line)
    assert (parsed.collection, parsed.key, parsed.expires_at) == ("users", "k\n", 105)
    assert parsed.value == value
    assert type(parsed.value) is type(value)


def test_what_is_missing_is_left_out() -> None:
    line = line_of(None, Item("k", 1, None), 100.0)
    assert json.loads(line) == {"key": "k", "value": 1}
    parsed = parse_line(line)
    assert (parsed.collection, parsed.expires_at) == (None, None)


def test_a_value_of_python_alone_is_refused() -> None:
    with pytest.raises(SerializationError):
        line_of(None, Item("k", {1, 2}, None), 0.0)


@pytest.mark.parametrize("line", [b"", b"{", b"nul", b'{"key":"k","value":"SECRET"', b"[" * 10_000])
def test_a_refused_line_is_not_quoted(line: bytes) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_line(line)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("form", ["bytes", "msgpack"])
@pytest.mark.parametrize("content", ['"?"', "5", "null", '"é"', '"wQ=="'])
def test_wrong_base64_is_refused(form: str, content: str) -> None:
    if (form, content) == ("bytes", '"wQ=="'):
        assert parse_line(b'{"key":"k","bytes":"wQ=="}').value == b"\xc1"
        return
    with pytest.raises(InvalidValue, match="base64"):
        parse_line(f'{{"key":"k","{form}":{content}}}'.encode())
