"""A stack as a tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvwrap.core.store import Store


def explained(store: Store) -> str:
    """The tree of a store and its layers, outermost first, capabilities and findings under it."""
    lines = list(_tree(store))
    lines.append("can: " + (", ".join(sorted(store.capabilities)) or "get, put and delete only"))
    for finding in store.findings:
        lines += [f"! {finding.code}: {finding.sentence}", f"  {finding.way_out}"]
    return "\n".join(lines)


def _tree(store: Store) -> Iterator[str]:
    for depth, layer in enumerate(store.layers):
        margin = "   " * depth
        branch = "└─ " if depth else ""
        yield margin[3:] + branch + repr(layer)
        for note in layer.notes():
            yield f"{margin}│  · {note}"
        for role, second in layer.seconds:
            first, *rest = _tree(second)
            yield f"{margin}├─ {role}: {first}"
            yield from (f"{margin}│  {line}" for line in rest)
    depth = len(store.layers)
    yield "   " * (depth - 1) + ("└─ " if depth else "") + repr(store.base)
