"""The protocol of a connection on which Redis also sends what nobody has asked for (RESP3)."""

from __future__ import annotations

from typing import Any, Final

_NEWLINE: Final = b"\r\n"
_TEXTS: Final = frozenset(b"$=!")
_ARRAYS: Final = frozenset(b"*~>%")
_WORDS: Final = frozenset(b"+,#(")
_PUSH, _MAP, _INTEGER, _ERROR, _LONG_ERROR, _MARKED, _NOTHING = b">%:-!=_"


class Push(list[Any]):
    """A message that is no answer: its kind, and what it says."""


class Refused(Exception):
    """An error that a server has answered with."""


class Messages:
    """Takes messages apart, which arrive in any pieces."""

    def __init__(self) -> None:
        self._data = b""
        self._arrays: list[tuple[list[Any], int]] = []  # those that have begun

    def feed(self, piece: bytes) -> list[Any]:
        """Return the messages that are complete with this piece.

        Raises:
            ValueError: This is not the protocol.
        """
        data, at = self._data + piece, 0
        complete: list[Any] = []
        while (end := data.find(_NEWLINE, at)) >= 0:
            kind, text = data[at], data[at + 1 : end]
            after = end + len(_NEWLINE)
            value: Any = None
            if kind in _TEXTS:
                if (size := int(text)) >= 0:
                    if len(data) < after + size + len(_NEWLINE):
                        break
                    value = data[after : after + size]
                    if kind == _MARKED:
                        value = value[len(b"txt:") :]
                    after += size + len(_NEWLINE)
            elif kind in _ARRAYS:
                size = int(text) * (2 if kind == _MAP else 1)
                value = None if size < 0 else Push() if kind == _PUSH else []
                if size > 0:
                    self._arrays.append((value, size))
                    at = after
                    continue
            elif kind == _INTEGER:
                value = int(text)
            elif kind == _ERROR or kind in _WORDS:
                value = text
            elif kind != _NOTHING:
                raise ValueError("this is not the protocol of Redis")
            if kind in (_ERROR, _LONG_ERROR):
                value = Refused(value.decode(errors="replace"))
            at = after
            self._add(value, complete)
        self._data = data[at:]
        return complete

    def _add(self, value: Any, complete: list[Any]) -> None:
        """Add a value to the array it belongs to, and those arrays that are complete by it."""
        while self._arrays:
            array, size = self._arrays[-1]
            array.append(value)
            if len(array) < size:
                return
            self._arrays.pop()
            value = array
        complete.append(value)
