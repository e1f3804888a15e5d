"""Drawings of stacks as SVG, for `explain(svg=…)`, which imports this package when it is called."""

from __future__ import annotations

from kvwrap.core.drawing.content import VIEWS
from kvwrap.core.drawing.plan import draw

__all__ = ["VIEWS", "draw"]
