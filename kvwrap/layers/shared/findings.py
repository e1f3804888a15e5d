"""What a layer with several stores lets one of them have, or see, that others do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kvwrap.core.capability import Capability
from kvwrap.core.findings import Finding
from kvwrap.core.part import Part

_OUTSIDE = {Capability.PERSISTENT, Capability.SHARED}
_SHAPING = {"encrypts", "compresses", "renames", "hashes_keys"}


def encrypted_below(layers: Sequence[Part]) -> bool:
    """Whether one of these layers encrypts, so that what lies outside of them is plaintext."""
    return any("encrypts" in layer.traits for layer in layers)


def plaintext_second_stores(layer: Part, below: Sequence[Part]) -> Iterator[Finding]:
    """The finding on each second store that outlives or leaves the process unencrypted."""
    if not encrypted_below(below):
        return
    for role, store in layer.second_stores:
        if _OUTSIDE & store.capabilities and not encrypted_below(store.parts):
            yield Finding(
                "plaintext-second-store",
                f"{layer.name} lies outside the encryption, so its {role} "
                f"({store.name}) holds in plaintext what the backend holds encrypted.",
                f"Put {layer.name} after the encryption in the stack, or encrypt the {role} too.",
            )


def layer_under_one_store(layer: Part, below: Sequence[Part]) -> Iterator[Finding]:
    """The finding on each layer that shapes what only one of this layer's stores holds."""
    for other in below:
        if other.traits & _SHAPING and not all(
            any(type(each) is type(other) for each in store.parts)
            for _, store in layer.second_stores
        ):
            yield Finding(
                "layer-under-one-store",
                f"{other.name} lies under {layer.name}, so that of its stores only the one that "
                "the stack is over has it.",
                f"Put {other.name} before {layer.name}, or into every store's own stack.",
            )
