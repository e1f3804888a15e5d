"""Where the parts of a stack stand in its drawing.

A chain is a column of cards, from the outermost layer to the backend. A second store stands
beside its layer, and its own chain below it. Where a layer spreads entries over several stores,
their chains stand side by side, in rows. So a drawing has one width, that of a phone, whatever
the stack is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from kvwrap.core.drawing.content import VIEWS, Form, blocks, findings, first_form
from kvwrap.core.drawing.paper import Paper
from kvwrap.core.drawing.words import Font, clean, width, without_addresses, wrap
from kvwrap.core.part import Chain, Part, Passage, View
from kvwrap.core.text import printable

WIDTH: Final = 376.0
MARGIN: Final = 8.0
GAP: Final = 10.0
PADDING: Final = 8.0
COLUMN: Final = 112.0
"""The least width of one of several columns."""
STEP: Final = 15.0
"""The height between two cards."""

_CALLS: Final = {"read": "get(key)", "write": "put(key, value)"}


class _Column(NamedTuple):
    """The parts of a chain that are still to be drawn, outermost first.

    Attributes:
        role: Its role, for a second store.
        parts: The parts.
        form: The form of entries above them.
        last: What calls do in its backend, if that does not see them as they are.
    """

    role: str
    parts: Sequence[Part]
    form: Form
    last: Passage | None = None


def draw(
    chain: Chain, explanation: str, view: View | None = None, chosen: type[Part] | None = None
) -> str:
    """Return a drawing of a store as SVG.

    Args:
        chain: The store.
        explanation: The same as text, for readers that show no pictures.
        view: The calls to show on their way through the stack; `None` to show what each part is.
        chosen: The class of the layers to point out.
    """
    return _Plan(chain, view, chosen).draw(explanation)


class _Plan:
    def __init__(self, chain: Chain, view: View | None, chosen: type[Part] | None) -> None:
        self._chain = chain
        self._calls = () if view is None else VIEWS[view]
        self._chosen = chosen
        self._paper = Paper(WIDTH)
        self._findings = list(findings(chain))

    def draw(self, explanation: str) -> str:
        """Draw everything. Returns the SVG."""
        chain, room, y = self._chain, WIDTH - 2 * MARGIN, MARGIN
        form = first_form(chain)
        if self._calls:
            asked = " and ".join(_CALLS[call] for call in reversed(self._calls))
            self._paper.box("pill", MARGIN, y, room, 29)
            self._paper.write([f"your code: {asked}"], Font.TEXT, MARGIN + PADDING, y + 7)
            y = self._step(MARGIN, y + 29, room, str(form))
        y = self._column(_Column("", chain.parts, form), MARGIN, y, room)
        y = self._list_findings(y, room) + MARGIN
        layers = ", ".join(clean(part.name) for part in chain.parts[:-1]) or "no layer"
        title = f"Stack over {clean(chain.name)}: {layers}"
        if self._calls:
            title += f"; what a {' and a '.join(reversed(self._calls))} do there"
        lines = [printable(line) for line in explanation.splitlines()]
        return self._paper.finish(y, title, "\n".join(map(without_addresses, lines)))

    def _column(self, column: _Column, x: float, y: float, room: float) -> float:
        """Draw the parts of a chain below each other. Returns the height where they end."""
        form = column.form
        for index, part in enumerate(column.parts):
            inner = column.parts[index + 1 :]
            below = form.under(part)
            seconds = [
                _Column(clean(role), second.parts, below, part.passage.second)
                for role, second in part.second_stores
            ]
            beside = bool(seconds) and room >= 2 * COLUMN + 3 * GAP
            spreads = bool(seconds) and "spreads" in part.traits
            own = room * 0.56 if beside and not spreads else room
            top, y = (
                y,
                self._card(
                    part, x, y, own, is_store=not inner, passage=None if inner else column.last
                ),
            )
            bottom = y
            if spreads:
                return self._fork([_Column(part.passage.inner, inner, below), *seconds], x, y, room)
            if beside:
                y = max(y, self._beside(seconds, x + own, top, x + room))
            elif seconds:
                y = self._beneath(seconds, x, y, room)
            if inner:
                label = [part.passage.inner] if seconds else []
                if self._calls and below != form:
                    label.append(str(below))
                y = self._step(x, y, room, " · ".join(label), start=bottom if beside else None)
            form = below
        return y

    def _beside(self, seconds: Sequence[_Column], x: float, y: float, end: float) -> float:
        """Draw second stores at the side of their part. Returns the height where they end."""
        left = x + 2.5 * GAP
        for second in seconds:
            top = self._label(second, left, y, end - left)
            self._paper.arrow("maybe", (x, top + 12), (left, top + 12))
            y = self._column(second, left, top, end - left) + GAP
        return y - GAP

    def _beneath(self, seconds: Sequence[_Column], x: float, y: float, room: float) -> float:
        """Draw second stores below their part in a narrow column, set in a little."""
        bottom = y
        inset = GAP if room > COLUMN * 0.75 else 0.0
        for second in seconds:
            y = self._label(second, x + inset, y + 4, room - inset)
            y = self._column(second, x + inset, y, room - inset)
        if inset:
            self._paper.line("maybe", (x + 3, bottom), (x + 3, y))
        return y

    def _fork(self, columns: Sequence[_Column], x: float, y: float, room: float) -> float:
        """Draw chains side by side, in as many rows as they need."""
        most = max(1, int((room + GAP) // (COLUMN + GAP)))
        rows = [columns[start : start + most] for start in range(0, len(columns), most)]
        trunk, inset = (x + 3, GAP) if len(rows) > 1 else (x + room / 2, 0.0)
        x, room = x + inset, room - inset
        for row in rows:
            each = (room - GAP * (len(row) - 1)) / len(row)
            lefts = [x + index * (each + GAP) for index in range(len(row))]
            bus = y + 8
            self._paper.line("", (trunk, y), (trunk, bus))
            ends = [trunk, lefts[0] + each / 2, lefts[-1] + each / 2]
            self._paper.line("", (min(ends), bus), (max(ends), bus))
            bottoms = []
            for column, left in zip(row, lefts, strict=True):
                middle = left + each / 2
                self._paper.line("", (middle, bus), (middle, bus + 5))
                top = self._label(column, left, bus + 5, each)
                bottoms.append(self._column(column, left, top, each))
            if row is not rows[-1]:
                self._paper.line("", (trunk, bus), (trunk, max(bottoms)))
            y = max(bottoms)
        return y

    def _card(
        self,
        part: Part,
        x: float,
        y: float,
        room: float,
        *,
        is_store: bool = False,
        passage: Passage | None = None,
    ) -> float:
        """Draw a part. Returns the height of its lower edge."""
        numbers = [n for n, (_, owner, _) in enumerate(self._findings, 1) if owner is part]
        inside = room - 2 * PADDING
        name_room = inside - 20 * len(numbers)
        content = list(blocks(part, self._calls, inside, name_room, passage or part.passage))
        height = 2 * PADDING + sum(len(lines) * font.leading for lines, font, _ in content)
        css = "store" if is_store else "layer"
        if type(part) is self._chosen:
            css += " chosen"
        self._paper.box(css, x, y, room, height)
        top = y + PADDING
        for lines, font, colour in content:
            top = self._paper.write(lines, font, x + PADDING, top, colour)
        for index, number in enumerate(reversed(numbers)):
            self._paper.mark(number, x + room - 3 - 20 * index, y + 3)
        return y + height

    def _label(self, column: _Column, x: float, y: float, room: float) -> float:
        """Write the role of a chain over it. Returns the height of its first card."""
        lines = wrap(column.role, room, Font.ROLE, 3)
        return self._paper.write(lines, Font.ROLE, x, y) + 3

    def _step(
        self, x: float, y: float, room: float, label: str = "", *, start: float | None = None
    ) -> float:
        """Draw the way to the next part of a chain. Returns the height of that part.

        It begins at `start`, where a second store reaches below the part above.
        """
        lines = wrap(label, room - 56, Font.ROLE, 4) if label else []
        height = max(STEP, len(lines) * Font.ROLE.leading + 12)
        ways = [("", True)] if not self._calls else [(c, c == "write") for c in self._calls]
        for index, (css, down) in enumerate(ways):
            place = x + 14 + 12 * index
            ends = [(place, y if start is None else start), (place, y + height)]
            self._paper.arrow(css, *(ends if down else reversed(ends)))
        if lines:
            longest = max(width(line, Font.ROLE) for line in lines)
            self._paper.box("pill", x + 38, y + 3, longest + 12, height - 6)
            self._paper.write(lines, Font.ROLE, x + 44, y + 6)
        return y + height

    def _list_findings(self, y: float, room: float) -> float:
        """Write the findings below the stack. Returns the height where they end."""
        for number, (finding, _, roles) in enumerate(self._findings, 1):
            y += GAP
            self._paper.mark(number, MARGIN + 18, y)
            text = clean(f"{finding.code}: {roles}{finding.message} {finding.hint}")
            lines = wrap(text, room - 26, Font.TEXT, 12)
            y = max(y + 18, self._paper.write(lines, Font.TEXT, MARGIN + 26, y + 2))
        return y
