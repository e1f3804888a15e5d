"""Whether a layer hands plaintext to a second store although its stack encrypts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kvwrap.core.capability import Capability
from kvwrap.core.findings import Finding

if TYPE_CHECKING:
    from kvwrap.core.layer import Layer

_OUTSIDE = {Capability.PERSISTENT, Capability.SHARED}


def encrypted_below(layers: Sequence[Layer]) -> bool:
    """Whether one of these layers encrypts, so that what lies outside of them is plaintext."""
    return any("encrypts" in layer.traits for layer in layers)


def exposed(layer: Layer, below: Sequence[Layer]) -> Iterator[Finding]:
    """The finding on each second store that outlives or leaves the process unencrypted."""
    if not encrypted_below(below):
        return
    for role, store in layer.seconds:
        if _OUTSIDE & store.capabilities and not encrypted_below(store.layers):
            yield Finding(
                "plaintext-second-store",
                f"{layer.name} lies outside the encryption, so its {role} "
                f"({store.name}) holds in plaintext what the backend holds encrypted.",
                f"Put {layer.name} after the encryption in the stack, or encrypt the {role} too.",
            )
