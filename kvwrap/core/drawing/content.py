"""What a drawing tells of the parts of a stack."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from kvwrap.core.drawing.words import Font, clean, wrap
from kvwrap.core.findings import Finding
from kvwrap.core.part import Chain, Part, Passage, View

VIEWS: Final[dict[View, tuple[str, ...]]] = {
    "read": ("read",),
    "write": ("write",),
    "both": ("write", "read"),
}
"""The calls that each drawing shows, in the order of their arrows."""

Block = tuple[list[str], Font, str]
"""Lines, their font, and the class of their colour."""

_SENTENCE = re.compile(r"(.*?[.!?])(?:\s|$)", re.DOTALL)
_SERIALIZERS: Final = {"json": "JSON", "msgpack": "MessagePack", "pickle": "pickle"}


class Form(NamedTuple):
    """The names and the bytes of an entry on its way down."""

    names: tuple[str, ...]
    value: tuple[str, ...]

    def under(self, part: Part) -> Form:
        """Return the form below a part."""
        passage = part.passage
        return Form(
            (*self.names, passage.names) if passage.names else self.names,
            (*self.value, passage.value) if passage.value else self.value,
        )

    def __str__(self) -> str:
        return clean(f"{', '.join(self.names) or 'key'}: {', '.join(self.value)}")


def first_form(chain: Chain) -> Form:
    """Return the form of an entry above all layers: a value is serialized there."""
    name = chain.serializer.name
    return Form((), (_SERIALIZERS.get(name, name),))


def blocks(
    part: Part, calls: tuple[str, ...], room: float, name_room: float, passage: Passage
) -> Iterator[Block]:
    """Yield what a card has: what the part is, or what calls do there, by this passage."""
    yield wrap(clean(part.name), name_room, Font.NAME, 4), Font.NAME, ""
    if calls:
        yield from _calls(passage, calls, room)
        return
    arguments = clean(part.summary.removeprefix(part.name))
    if arguments not in ("", "()"):
        yield wrap(arguments, room, Font.CODE, 3), Font.CODE, ""
    yield wrap(_purpose(part), room, Font.TEXT, 8), Font.TEXT, ""


def _calls(passage: Passage, calls: tuple[str, ...], room: float) -> Iterator[Block]:
    texts = {"read": passage.read, "write": passage.write or passage.read}
    if len(calls) > 1 and texts["read"] == texts["write"]:
        yield wrap(clean(f"A call {texts['read']}."), room, Font.TEXT, 8), Font.TEXT, ""
        return
    for call in calls:
        text = clean(f"A {call} {texts[call]}.")
        yield wrap(text, room, Font.TEXT, 8), Font.TEXT, call


def _purpose(part: Part) -> str:
    """Return the first sentence of the documentation of a part's class."""
    sentence = _SENTENCE.match((type(part).__doc__ or "").strip())
    return clean(sentence[1].replace("`", "")) if sentence else ""


def findings(chain: Chain, roles: str = "") -> Iterator[tuple[Finding, Part | None, str]]:
    """Yield the findings of a chain and of its second stores.

    With each the part that reports it, unless the whole stack does, and the roles of the store.
    """
    for finding in chain.findings:
        yield finding, _reporter(chain, finding), roles
    for part in chain.parts:
        for role, second in part.second_stores:
            yield from findings(second, f"{roles}{role}: ")


def _reporter(chain: Chain, finding: Finding) -> Part | None:
    *layers, base = chain.parts
    for index, part in enumerate(layers):
        if finding in part.reports(layers[:index], layers[index + 1 :], base):
            return part
    return None
