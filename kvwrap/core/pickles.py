"""The finding of a stack that reads pickles which others can write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile

from kvwrap.core.capability import Capability
from kvwrap.core.findings import Finding
from kvwrap.core.part import Chain, Part, leaves_process
from kvwrap.core.serializer import Serializer


def unprotected_pickle(
    serializer: Serializer, layers: Sequence[Part], base: Chain
) -> Iterator[Finding]:
    """Yield a finding if a stack reads pickles that anyone outside this process can write.

    Args:
        serializer: The serializer of the stack.
        layers: The layers of the stack, outermost first.
        base: The backend.
    """
    if serializer.name != "pickle":
        return
    place = next(_places(layers, base), None)
    if place is not None:
        yield Finding(
            "pickle-unprotected",
            f"Reading a pickle runs the code in it, so anyone who can write to {place} can run "
            "code in this process.",
            "Put .encrypt(keyring) before every layer that keeps entries: it refuses everything "
            "that was written without its keys. Or use .serialize('msgpack').",
        )


def _places(layers: Sequence[Part], base: Chain) -> Iterator[str]:
    """Yield what a stack reads unauthenticated from, and others can write to."""
    outside = list(takewhile(lambda layer: "encrypts" not in layer.traits, layers))
    if len(outside) == len(layers) and (
        leaves_process(base)
        or any(layer.capabilities & {Capability.PERSISTENT, Capability.SHARED} for layer in layers)
    ):
        yield "the backend"
    for layer in outside:
        if "journals" in layer.traits:
            yield f"the journal of {layer.name}"
        for role, store in layer.second_stores:
            if leaves_process(store) and not any("encrypts" in part.traits for part in store.parts):
                yield f"the {role} of {layer.name}"
