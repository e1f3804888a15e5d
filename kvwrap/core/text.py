"""Text for terminals."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return the text with every character escaped that a terminal does not simply show.

    Names in a backend are whatever its users chose. Control characters in them would steer the
    terminal, and characters that change the direction of text would disguise it. Line breaks
    stay: pass names through `repr` before.
    """
    return "".join(char if char.isprintable() or char == "\n" else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode()
