"""A stack as a tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kvwrap.core.described import shown
from kvwrap.core.findings import Finding

if TYPE_CHECKING:
    from kvwrap.core.layer import Layer
    from kvwrap.core.store import Store


def explained(store: Store) -> str:
    """The tree of a store and its layers, outermost first, capabilities and findings under it.

    Second stores are branches, each with its role; what is secret is not shown.
    """
    lines = list(_tree(store))
    lines.append("can: " + (", ".join(sorted(store.capabilities)) or "get, put and delete only"))
    for place, finding in _findings(store):
        lines += [f"! {finding.code}: {place}{finding.sentence}", f"  {finding.way_out}"]
    return "\n".join(lines)


def _tree(store: Store) -> Iterator[str]:
    for depth, layer in enumerate(store.layers):
        margin = "   " * depth
        branch = "└─ " if depth else ""
        yield margin[3:] + branch + _described(layer)
        for note in layer.notes():
            yield f"{margin}│  · {note}"
        for role, second in layer.second_stores:
            first, *rest = _tree(second)
            yield f"{margin}├─ {role}: {first}"
            yield from (f"{margin}│  {line}" for line in rest)
    depth = len(store.layers)
    yield "   " * (depth - 1) + ("└─ " if depth else "") + repr(store.base)


def _described(layer: Layer) -> str:
    """The layer's `repr` without its second stores, which are branches of their own."""
    if not layer.second_stores:
        return repr(layer)
    given = layer.plain_arguments.items()
    return f"{layer.name}({', '.join(f'{name}={shown(name, value)}' for name, value in given)})"


def _findings(store: Store, place: str = "") -> Iterator[tuple[str, Finding]]:
    """The findings of a store and of its second stores, with the role of these."""
    for finding in store.findings:
        yield place, finding
    for layer in store.layers:
        for role, second in layer.second_stores:
            yield from _findings(second, f"{place}{role}: ")
