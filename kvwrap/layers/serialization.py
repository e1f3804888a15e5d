"""How values become bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from kvwrap.core.capability import Capability
from kvwrap.core.findings import Finding
from kvwrap.core.layer import Layer
from kvwrap.core.registry import nearest
from kvwrap.core.serializer import Serializer, serializer_named, serializer_names
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError


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
        self.serializer = _checked(serializer)

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


def _checked(serializer: object) -> Serializer:
    if isinstance(serializer, str):
        found = serializer_named(serializer)
        if found is None:
            raise ConfigurationError(
                f"no serializer is called {serializer!r}: {nearest(serializer, serializer_names())}"
            )
        return found
    name = getattr(serializer, "name", None)
    if not isinstance(name, str) or not name:
        raise ConfigurationError(
            f"a serializer has a name, by which its entries are known: {type(serializer).__name__} "
            "has none"
        )
    for method in ("dumps", "loads"):
        if not callable(getattr(serializer, method, None)):
            raise ConfigurationError(
                f"a serializer has the methods dumps and loads: {type(serializer).__name__} has no "
                f"{method}"
            )
    own = serializer_named(name)
    if own is not None and not isinstance(serializer, type(own)):
        raise ConfigurationError(
            f"entries named {name!r} are read by kvwrap's own serializer of this name wherever "
            "this one is not at hand: give yours another name"
        )
    return serializer  # type: ignore[return-value]  # checked piece by piece above
