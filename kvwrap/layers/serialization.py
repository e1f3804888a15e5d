"""Choose the serializer of a stack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from kvwrap.errors import ConfigurationError
from kvwrap.layers.base import (
    Finding,
    Layer,
    Passage,
    Serializer,
    Store,
    checked_serializer,
    unprotected_pickle,
)


class Serialization(Layer):
    """Chooses the serializer of a stack, instead of the store's own.

    Its position has no effect: values are serialized once, before the outermost layer
    receives them. A stack has at most one. Entries record their serializer. "json",
    "msgpack" and "bytes" are read under any choice, others only where they were chosen or
    accepted.

    Args:
        serializer: "json", "msgpack", "bytes" (values are bytes already), "pickle" (any
            Python object; anyone who can write to the backend can then run code in this
            process), or an object with `name`, `dumps` and `loads`. Entries record its name.
        accept: Further serializers whose entries are read, as long as others write them.

    Raises:
        SerializationError: On writing, for a value that would not be restored unchanged.
        CorruptEntry: On reading, for an entry of a serializer that this stack does not have.
    """

    passage = Passage(read="makes the value from the bytes", write="makes the bytes from the value")
    traits = frozenset({"serializes"})
    finding_codes = frozenset({"pickle-unprotected"})
    serializer: Serializer

    def __init__(
        self,
        serializer: Literal["json", "msgpack", "bytes", "pickle"] | Serializer = "json",
        *,
        accept: Sequence[Literal["json", "msgpack", "bytes", "pickle"] | Serializer] = (),
    ) -> None:
        self.serializer = checked_serializer(serializer)
        if isinstance(accept, str | bytes) or not isinstance(accept, Iterable):
            raise ConfigurationError(
                f"`accept` must be a list of serializers such as ['pickle']; got {accept!r}"
            )
        self.also_reads = tuple(map(checked_serializer, accept))

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        for serializer in (self.serializer, *self.also_reads):
            yield from unprotected_pickle(serializer, (*above, *below), base)
