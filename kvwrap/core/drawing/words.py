"""Text in drawings: what it may contain, how wide it is, and how it is broken into lines.

No font is known where a drawing is made, so widths are those of the widest common fonts
(DejaVu Sans, Verdana). Text that is not ASCII is given its width in the drawing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from unicodedata import east_asian_width

from kvwrap.core.text import printable

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_BREAKS = re.compile(r"(?<=[,./:=(_-])|(?<=[a-z0-9])(?=[A-Z])")
_NARROW = frozenset("fijltI.,:;'|!()[]/\\ -")
_MIDDLE = frozenset('rsczvxykJ_*`"')
_WIDE = frozenset("mwMW@%—…→↑↓·")


class Font(Enum):
    """Fonts of a drawing: the class of their text, the size and the weight."""

    NAME = ("name", 13.0, 1.14, 16.0)
    TEXT = ("text", 11.5, 1.0, 15.0)
    ROLE = ("role", 11.0, 1.14, 14.0)
    CODE = ("code", 10.5, 0.0, 14.0)

    def __init__(self, css: str, size: float, weight: float, leading: float) -> None:
        self.css = css
        self.size = size
        self.weight = weight
        """What the widths of a letter are multiplied with; 0 for letters of one width."""
        self.leading = leading
        """The height of a line."""


def clean(text: str) -> str:
    """Return a text in one line, without control characters and addresses of objects."""
    return printable(" ".join(without_addresses(text).split()))


def without_addresses(text: str) -> str:
    """Return a text without the addresses of objects, which differ from run to run."""
    return _ADDRESS.sub("", text)


def is_measured(text: str) -> bool:
    """Return True if the table of widths knows every character."""
    return all(char.isascii() or char in _WIDE for char in text)


def width(text: str, font: Font) -> float:
    """Return the width of a text, and not less than a usual font takes."""
    if font.weight:
        return sum(map(_width, text)) * font.size * font.weight
    return sum(0.62 if char.isascii() else _width(char) for char in text) * font.size


def _width(char: str) -> float:
    if char in _WIDE:
        return 1.01
    if char.isascii():
        if char in _NARROW:
            return 0.42
        return 0.6 if char in _MIDDLE else 0.65 if char.islower() or char.isdigit() else 0.84
    return 1.3 if east_asian_width(char) in "WF" else 1.1


def wrap(text: str, room: float, font: Font, most: int) -> list[str]:
    """Break a text into lines that fit, at most this number; the last one ends with an ellipsis."""
    lines, line = [], ""
    for word in _words(text, room, font):
        if line and width((line + word).rstrip(), font) > room:
            lines.append(line.rstrip())
            line = ""
        line += word
    lines.append(line.rstrip())
    if len(lines) > most:
        last = lines[most - 1]
        while last and width(f"{last}…", font) > room:
            last = last[:-1]
        lines[most - 1 :] = [f"{last.rstrip()}…"]
    return lines if lines != [""] else []


def _words(text: str, room: float, font: Font) -> Iterable[str]:
    """Split a text where it may be broken: between words, and within those that do not fit."""
    for word in text.split():
        if width(word, font) <= room:
            yield f"{word} "
            continue
        *pieces, last = (
            part for piece in _BREAKS.split(word) for part in _pieces(piece, room, font)
        )
        yield from pieces
        yield f"{last} "


def _pieces(word: str, room: float, font: Font) -> Iterable[str]:
    piece = ""
    for char in word:
        if piece and width(piece + char, font) > room:
            yield piece
            piece = ""
        piece += char
    yield piece
