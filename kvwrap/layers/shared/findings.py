"""Findings about layers inside: that only one of several stores has, or that need a context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kvwrap.core.findings import Finding
from kvwrap.core.part import Part, leaves_process

_CHANGE_ENTRIES = {"encrypts", "compresses", "renames", "hashes_keys"}


def encrypted_below(layers: Sequence[Part]) -> bool:
    """Return True if one of these layers encrypts, so that entries outside them are plaintext."""
    return any("encrypts" in layer.traits for layer in layers)


def hashed_below(layers: Sequence[Part]) -> bool:
    """Return True if one of these layers hashes keys, so that those outside them are names."""
    return any("hashes_keys" in layer.traits for layer in layers)


def unhashed_second_stores(layer: Part, below: Sequence[Part]) -> Iterator[Finding]:
    """Yield a finding for each second store that has keys in plain outside the process."""
    if not hashed_below(below):
        return
    for role, store in layer.second_stores:
        if leaves_process(store) and not hashed_below(store.parts):
            yield Finding(
                "plain-keys-in-second-store",
                f"{layer.name} is outside the hashing of keys, so its {role} ({store.name}) holds "
                "the names of keys that the backend holds hashed.",
                f"Put {layer.name} inside the hashing (after it in the stack), or hash the keys "
                f"of the {role} too.",
            )


def plaintext_second_stores(layer: Part, below: Sequence[Part]) -> Iterator[Finding]:
    """Yield a finding for each second store that outlives or leaves the process unencrypted."""
    if not encrypted_below(below):
        return
    for role, store in layer.second_stores:
        if leaves_process(store) and not encrypted_below(store.parts):
            yield Finding(
                "plaintext-second-store",
                f"{layer.name} is outside the encryption, so its {role} ({store.name}) holds in "
                "plaintext what the backend holds encrypted.",
                f"Put {layer.name} inside the encryption (after it in the stack), or encrypt the "
                f"{role} too.",
            )


def contextual_below(layer: Part, below: Sequence[Part]) -> Iterator[Finding]:
    """Yield a finding for each layer whose context another caller's call, or none, may have."""
    for other in below:
        if "contextual" in other.traits:
            yield Finding(
                "context-lost",
                f"{other.name} depends on the context of the call, and {layer.name}, which is "
                "outside it, answers a call with what another one got, or makes it in another "
                "context: one tenant may get the value of another.",
                f"Put {other.name} before {layer.name} in the stack.",
            )


def layer_under_one_store(layer: Part, below: Sequence[Part]) -> Iterator[Finding]:
    """Yield a finding for each layer that changes entries of only one of the stores."""
    for other in below:
        if other.traits & _CHANGE_ENTRIES and not all(
            any(type(part) is type(other) for part in store.parts)
            for _, store in layer.second_stores
        ):
            yield Finding(
                "layer-under-one-store",
                f"{other.name} is inside {layer.name}, so only one of its stores has it: the one "
                "that the stack is over.",
                f"Put {other.name} outside {layer.name} (before it in the stack), or in the stack "
                "of every store.",
            )
