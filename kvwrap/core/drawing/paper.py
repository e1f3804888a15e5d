"""Shapes and text of a drawing, and the SVG made of them.

There are no ids and no rules for bare elements, so that several drawings can stand in one page
of HTML. The standard library's XML escapes every name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from xml.etree import ElementTree

from kvwrap.core.drawing.words import Font, is_measured, width

_LIGHT: Final = {
    "paper": "#ffffff",
    "ink": "#1f2328",
    "quiet": "#57606a",
    "card": "#f3f5f9",
    "edge": "#8b95a7",
    "store": "#e4f3ea",
    "bound": "#3c8d5e",
    "pill": "#fdf3d8",
    "rim": "#b98a1e",
    "read": "#0b5cad",
    "write": "#a04000",
    "fault": "#b42318",
}
_DARK: Final = {
    "paper": "#16191f",
    "ink": "#e6e9ef",
    "quiet": "#aab2bf",
    "card": "#242a34",
    "edge": "#76819a",
    "store": "#1d3427",
    "bound": "#58b581",
    "pill": "#3a3115",
    "rim": "#d0a540",
    "read": "#79b8ff",
    "write": "#ffab70",
    "fault": "#ff8f85",
}
_RULES: Final = (
    ("paper", "fill:{paper}"),
    ("name", "fill:{ink};font:600 13px system-ui,sans-serif"),
    ("text", "fill:{ink};font:11.5px system-ui,sans-serif"),
    ("role", "fill:{quiet};font:italic 600 11px system-ui,sans-serif"),
    ("code", "fill:{quiet};font:10.5px ui-monospace,monospace"),
    ("line", "fill:none;stroke:{edge};stroke-width:1.5"),
    ("head", "fill:{edge}"),
    ("line.read", "stroke:{read}"),
    ("line.write", "stroke:{write}"),
    ("head.read,.kvwrap .text.read", "fill:{read}"),
    ("head.write,.kvwrap .text.write", "fill:{write}"),
    ("fault", "fill:{fault}"),
    ("mark", "fill:{paper}"),
    ("maybe", "stroke-dasharray:4 3"),
    ("layer", "fill:{card};stroke:{edge}"),
    ("store", "fill:{store};stroke:{bound}"),
    ("pill", "fill:{pill};stroke:{rim}"),
    ("chosen", "stroke:{rim};stroke-width:3"),
)


def _style(colours: dict[str, str]) -> str:
    return "".join(f".kvwrap .{name}{{{rule.format_map(colours)}}}" for name, rule in _RULES)


class Paper:
    """A drawing in progress, of a fixed width."""

    def __init__(self, room: float) -> None:
        self._room = room
        self._shapes: list[ElementTree.Element] = []

    def box(self, css: str, left: float, top: float, room: float, height: float) -> None:
        """Draw a rectangle with round corners."""
        self._add(
            "rect", css, x=_number(left), y=_number(top), width=_number(room),
            height=_number(height), rx="5",
        )  # fmt: skip

    def write(
        self, lines: Iterable[str], font: Font, left: float, top: float, css: str = ""
    ) -> float:
        """Write lines below each other. Returns the height at which the next one would begin."""
        for line in lines:
            exact = {} if is_measured(line) else {"textLength": _number(width(line, font))}
            if exact:
                exact["lengthAdjust"] = "spacingAndGlyphs"
            place = {"x": _number(left), "y": _number(top + font.leading * 0.75)}
            text = self._add("text", f"{font.css} {css}".rstrip(), **place, **exact)
            text.text = line
            top += font.leading
        return top

    def line(self, css: str, *points: tuple[float, float]) -> None:
        """Draw a line through points."""
        self._add("path", f"line {css}".rstrip(), d=_path(*points))

    def arrow(self, css: str, *points: tuple[float, float]) -> None:
        """Draw a line through points with a head at the last one."""
        (x0, y0), (x1, y1) = points[-2:]
        along, down = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
        back, left = x1 - 6 * along, y1 - 6 * down
        wings = [(back + 4 * down, left + 4 * along), (back - 4 * down, left - 4 * along)]
        self.line(css, *points)
        self._add("path", f"head {css}".rstrip(), d=f"{_path((x1, y1), *wings)}Z")

    def mark(self, number: int, right: float, top: float) -> None:
        """Draw the number of a finding in a circle."""
        self._add("circle", "fault", cx=_number(right - 9), cy=_number(top + 9), r="8")
        text = self._add(
            "text", "role mark", x=_number(right - 9), y=_number(top + 13), text_anchor="middle"
        )
        text.text = str(number)

    def finish(self, height: float, title: str, description: str) -> str:
        """Return the drawing as SVG."""
        size = {"width": _number(self._room), "height": _number(height)}
        svg = ElementTree.Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "viewBox": f"0 0 {size['width']} {size['height']}",
                **size,
                "class": "kvwrap",
                "role": "img",
                "style": "max-width:100%;height:auto",
            },
        )
        ElementTree.SubElement(svg, "title").text = title
        ElementTree.SubElement(svg, "desc").text = description
        ElementTree.SubElement(
            svg, "style"
        ).text = f"{_style(_LIGHT)}@media(prefers-color-scheme:dark){{{_style(_DARK)}}}"
        ElementTree.SubElement(svg, "rect", {"class": "paper", **size})
        svg.extend(self._shapes)
        ElementTree.indent(svg)
        return ElementTree.tostring(svg, encoding="unicode") + "\n"

    def _add(self, tag: str, css: str, **attributes: str) -> ElementTree.Element:
        shape = ElementTree.Element(tag, {"class": css})
        for name, value in attributes.items():
            shape.set(name.replace("_", "-"), value)
        self._shapes.append(shape)
        return shape


def _path(*points: tuple[float, float]) -> str:
    return "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
