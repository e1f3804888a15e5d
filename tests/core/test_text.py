"""Text for terminals: nothing in it steers them."""

from __future__ import annotations

import pytest

from kvwrap.core.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, 'quoted', Zürich 東京 🙂", "plain, 'quoted', Zürich 東京 🙂"),
        ("two\nlines", "two\nlines"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\rb\tc\x7f\x9b", r"a\rb\tc\x7f\x9b"),
        ("user\u202egnp.exe\u2066", r"user\u202egnp.exe\u2066"),
        ("\u200b\ufeff\u2028\U000e0041", r"\u200b\ufeff\u2028\U000e0041"),
        ("\ud800", r"\ud800"),
    ],
)
def test_characters_that_steer_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
