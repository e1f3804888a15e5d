"""Findings of encryption: what its place in the stack, or an option, leaves open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from kvwrap.layers.base import Finding, Layer, LegacyReader, Store, leaves_process

FINDING_CODES = frozenset(
    {
        "contexts-open",
        "double-encryption",
        "legacy-open",
        "migration-open",
        "minimum-inside-encryption",
        "plaintext-pickle",
        "prefix-inside-encryption",
    }
)


class Judged(Protocol):
    """What the findings look at in the layer."""

    context: bytes
    accept_contexts: tuple[bytes, ...]
    accept_plaintext: bool
    legacy: tuple[LegacyReader, ...]


def find(
    layer: Judged, above: Sequence[Layer], below: Sequence[Layer], base: Store
) -> Iterator[Finding]:
    """Yield the findings of an `Encryption` between these layers."""
    yield from _of_place(layer, below, base)
    yield from _of_options(layer)
    if layer.accept_plaintext and _serializer_name((*above, *below), base) == "pickle":
        yield Finding(
            "plaintext-pickle",
            "Pickles that are not encrypted are read, so anyone who can write to the backend "
            "can run code here.",
            "Rewrite in a process that receives no data from others, or serialize as json.",
        )


def _of_place(layer: Judged, below: Sequence[Layer], base: Store) -> Iterator[Finding]:
    if any("encrypts" in other.traits for other in below):
        yield Finding(
            "double-encryption",
            "Values that this layer encrypts are encrypted again by a layer inside it.",
            "Remove one. To change keys, promote another key of the keyring and rewrite.",
        )
    renaming = next((other for other in below if "renames" in other.traits), None)
    if renaming is not None and leaves_process(base) and not layer.context:
        yield Finding(
            "prefix-inside-encryption",
            f"{renaming.name} is inside the encryption, so entries are not bound to the names "
            "that it makes: the owner of the backend can move them to another prefix, and they "
            "open there with the same keys.",
            "Bind them: .encrypt(keyring, context=b'...'), with another context for each prefix; "
            f"or put {renaming.name} before .encrypt().",
        )
    if any("clamps_ttl" in other.traits and other.arguments.get("minimum") for other in below):
        yield Finding(
            "minimum-inside-encryption",
            "The minimum of a TTLClamp inside the encryption has no effect: an entry does not "
            "live longer than the ttl that was sealed with it.",
            "Put .clamp_ttl() before .encrypt().",
        )


def _of_options(layer: Judged) -> Iterator[Finding]:
    if layer.accept_contexts:
        yield Finding(
            "contexts-open",
            "Entries of other contexts are opened, so the owner of the backend can move them here.",
            "Rewrite the remaining entries (kvwrap.rewrite), then remove accept_contexts=[...].",
        )
    if layer.legacy:
        yield Finding(
            "legacy-open",
            "Entries that other libraries encrypted are read. Most are not bound to their names, "
            "and none to this layer's context and expiry, so the owner of the backend can put old "
            "ones under any name.",
            "Rewrite the remaining entries (kvwrap.rewrite), then remove legacy=[...].",
        )
    if layer.accept_plaintext:
        yield Finding(
            "migration-open",
            "Values that are not encrypted are read, so anyone who can write to the backend can "
            "forge them.",
            "Rewrite the remaining values (kvwrap.rewrite), then remove accept_plaintext=True.",
        )


def _serializer_name(layers: Sequence[Layer], base: Store) -> str:
    """Return the name of the stack's serializer: a layer's, or the store's own."""
    chosen = (layer.serializer for layer in layers if layer.serializer is not None)
    return next(chosen, base.serializer).name
