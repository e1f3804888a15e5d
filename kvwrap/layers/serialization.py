"""How values become bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from kvwrap.layers.base import Capability, Finding, Layer, Serializer, Store, checked_serializer


class Serialization(Layer):
    """Chooses the serializer of a stack, which the store's own would be otherwise.

    It has no place of its own: values are serialized once, before the outermost layer sees
    them. A stack has one at most. Entries say how they were serialized: "json", "msgpack"
    and "bytes" are read under any choice, others only where they were chosen.

    Args:
        serializer: "json", "msgpack", "bytes" (values are bytes already), "pickle" (any
            Python object, and any code of whoever can write to the backend), or an object
            with `name`, `dumps` and `loads`; its name is what entries record.

    Raises:
        SerializationError: On writing, for a value that would not come back as it is.
        CorruptEntry: On reading, for an entry of a serializer that this stack does not have.
    """

    traits = frozenset({"serializes"})
    serializer: Serializer

    def __init__(
        self, serializer: Literal["json", "msgpack", "bytes", "pickle"] | Serializer = "json"
    ) -> None:
        self.serializer = checked_serializer(serializer)

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        if self.serializer.name != "pickle" or any("encrypts" in layer.traits for layer in below):
            return
        if {Capability.SHARED, Capability.PERSISTENT} & (
            self.inner.capabilities | base.capabilities
        ):
            yield Finding(
                "pickle-unprotected",
                "Whoever can write to the backend can run any code in this process, since reading "
                "a pickle does what the pickle says.",
                "Add .encrypt(keyring), which opens nothing that was written without its keys, or "
                "choose .serialize('msgpack').",
            )
