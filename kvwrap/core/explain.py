"""The tree of a stack, as text and as a drawing."""

from __future__ import annotations

from collections.abc import Iterator

from kvwrap.core.figures import summary
from kvwrap.core.findings import Finding
from kvwrap.core.part import Chain, Part, View
from kvwrap.errors import ConfigurationError


def explain(chain: Chain, svg: bool | View = False) -> str:
    """Draw the parts of a store as a tree, outermost first, then its capabilities and findings.

    Second stores are branches, each with its role. What a part has counted so far stands behind
    `=`. Secrets are not shown.

    Args:
        chain: The store.
        svg: `True` for a drawing as SVG, or the calls to show on their way through it.

    Raises:
        ConfigurationError: `svg` is something else.
    """
    if svg is not False:
        return _drawing(chain, svg)
    lines = list(_tree(chain))
    lines.append("can: " + (", ".join(sorted(chain.capabilities)) or "get, put and delete only"))
    for roles, finding in _findings(chain):
        lines += [f"! {finding.code}: {roles}{finding.message}", f"  {finding.hint}"]
    return "\n".join(lines)


def _drawing(chain: Chain, svg: bool | View) -> str:
    from kvwrap.core.drawing import VIEWS, draw

    if svg is True:
        return draw(chain, explain(chain))
    if not isinstance(svg, str) or svg not in VIEWS:
        allowed = " or ".join(map(repr, VIEWS))
        raise ConfigurationError(f"`svg` must be a bool, {allowed}; got {svg!r}")
    return draw(chain, explain(chain), svg)


def walk(chain: Chain) -> Iterator[Part]:
    """Iterate over the parts of a chain, then over those of its second stores."""
    yield from chain.parts
    for _, second in _branches(chain):
        yield from walk(second)


def _branches(chain: Chain) -> Iterator[tuple[str, Chain]]:
    for part in chain.parts:
        yield from part.second_stores


def _tree(chain: Chain) -> Iterator[str]:
    *layers, base = chain.parts
    for depth, layer in enumerate(layers):
        margin = "   " * depth
        branch = "└─ " if depth else ""
        yield margin[3:] + branch + layer.summary
        for note in layer.notes():
            yield f"{margin}│  · {note}"
        for figures in _figures(layer):
            yield f"{margin}│  {figures}"
        for role, second in layer.second_stores:
            first, *others = _tree(second)
            yield f"{margin}├─ {role}: {first}"
            yield from (f"{margin}│  {line}" for line in others)
    depth = len(layers)
    yield "   " * (depth - 1) + ("└─ " if depth else "") + base.summary
    for figures in _figures(base):
        yield "   " * depth + figures


def _figures(part: Part) -> Iterator[str]:
    """Yield a line of what a part has counted, if it has counted anything."""
    if figures := summary(part.measured()):
        yield f"= {figures}"


def _findings(chain: Chain, roles: str = "") -> Iterator[tuple[str, Finding]]:
    """Iterate over the findings of a chain and of its second stores, with the roles of these."""
    for finding in chain.findings:
        yield roles, finding
    for role, second in _branches(chain):
        yield from _findings(second, f"{roles}{role}: ")
