"""Drawings as their readers see them: boxes, and text as wide as a wide font makes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from xml.etree import ElementTree

SVG = "{http://www.w3.org/2000/svg}"

# Widths of the printable characters of ASCII in DejaVu Sans, in thousandths of the size.
REGULAR = (
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636,
    636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632,
    575, 775, 752, 295, 295, 656, 557, 863, 748, 787, 603, 787, 695, 635, 611, 732, 684, 989, 685,
    611, 685, 390, 337, 390, 838, 500, 500, 613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579,
    278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838,
)  # fmt: skip
BOLD = (
    348, 456, 521, 838, 696, 1002, 872, 306, 457, 457, 523, 838, 380, 415, 380, 365, 696, 696, 696,
    696, 696, 696, 696, 696, 696, 696, 400, 400, 838, 838, 838, 580, 1000, 774, 762, 734, 830, 683,
    683, 821, 837, 372, 372, 775, 637, 995, 837, 850, 733, 850, 770, 720, 682, 812, 774, 1103, 771,
    724, 725, 457, 365, 457, 838, 500, 500, 675, 716, 593, 716, 678, 435, 716, 712, 343, 343, 665,
    343, 1042, 712, 687, 716, 716, 493, 595, 478, 712, 652, 924, 645, 652, 582, 712, 365, 712, 838,
)  # fmt: skip
OTHERS = {"…": 1000, "·": 318}
SIZES = {"name": 13.0, "text": 11.5, "role": 11.0, "code": 10.5}


class Box(NamedTuple):
    """A rectangle of a drawing."""

    kind: str
    left: float
    top: float
    right: float
    bottom: float
    is_card: bool = False

    def holds(self, other: Box) -> bool:
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )

    def meets(self, other: Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


class Drawing:
    """An SVG of `explain`, parsed."""

    def __init__(self, svg: str) -> None:
        self.root = ElementTree.fromstring(svg)
        _, _, self.width, self.height = map(float, self.root.attrib["viewBox"].split())
        self.boxes = [
            _box(shape) for shape in self.root.iter(f"{SVG}rect") if shape.get("class") != "paper"
        ]
        self.texts = list(map(_extent, self.root.iter(f"{SVG}text")))

    @property
    def words(self) -> str:
        """All text of the drawing, as one string."""
        return " ".join(text.text or "" for text in self.root.iter(f"{SVG}text"))

    def faults(self) -> Iterator[str]:
        """Yield what is outside of the drawing or of its card, or over something else."""
        whole = Box("whole", 0, 0, self.width, self.height)
        for box in (*self.boxes, *self.texts):
            if not whole.holds(box):
                yield f"{box} is outside"
        above: list[Box] = []
        for box in sorted((*self.boxes, *self.texts), key=lambda box: (box.top, box.left)):
            above = [other for other in above if other.bottom > box.top]
            for other in above:
                holds = other.is_card and not box.is_card and other.holds(box)
                if box.meets(other) and not holds:
                    yield f"{box} is over {other}"
            above.append(box)
        for shape in self.root.iter(f"{SVG}path"):
            numbers = list(map(float, re.findall(r"-?[\d.]+", shape.attrib["d"])))
            if not all(0 <= x <= self.width for x in numbers[::2]):
                yield f"{shape.attrib} is outside"
            if not all(0 <= y <= self.height for y in numbers[1::2]):
                yield f"{shape.attrib} is outside"


def _box(shape: ElementTree.Element) -> Box:
    left, top, width, height = (float(shape.attrib[n]) for n in ("x", "y", "width", "height"))
    return Box(shape.attrib["class"], left, top, left + width, top + height, is_card=True)


def _extent(text: ElementTree.Element) -> Box:
    words, kind = text.text or "", text.attrib["class"].split()[0]
    size, left, base = SIZES[kind], float(text.attrib["x"]), float(text.attrib["y"])
    if "textLength" in text.attrib:
        width = float(text.attrib["textLength"])
    elif kind == "code":
        width = sum(602 for _ in words) * size / 1000
    else:
        table = REGULAR if kind == "text" else BOLD
        width = sum(OTHERS.get(c) or table[ord(c) - 32] for c in words) * size / 1000
    if text.get("text-anchor") == "middle":
        left -= width / 2
    return Box(words, left, base - size * 0.8, left + width, base + size * 0.22)
