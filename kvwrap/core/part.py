"""Parts of a stack: the properties that layers and stores have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Any, ClassVar, Literal, Protocol

import msgspec

from kvwrap.core.capability import Capabilities, Capability
from kvwrap.core.described import Described
from kvwrap.core.figures import Measured
from kvwrap.core.findings import Finding
from kvwrap.core.lifecycle import Lifecycle
from kvwrap.core.ranges import derive_ranges
from kvwrap.core.serializer import Serializer

View = Literal["read", "write", "both"]
"""The calls that a drawing of a stack shows on their way through it."""


class Passage(msgspec.Struct, frozen=True):
    """What calls do in a part, in the words of a drawing: `explain(svg="both")`.

    Attributes:
        read: What a read does, as the rest of a sentence: "decrypts the value".
        write: What a write does, likewise; the same as a read if empty.
        names: What the part makes of the names of an entry, such as "hashed key".
        value: What the part makes of its bytes, such as "encrypted".
        inner: The role of the store under a part that has second stores.
        second: What calls do in the backends of second stores, if these do not see them as they
            are: a near store, for example, loses its copy by a write.
    """

    read: str = "passes unchanged"
    write: str = ""
    names: str = ""
    value: str = ""
    inner: str = "inner"
    second: Passage | None = None


class Part(Described, Lifecycle, Measured):
    """A part of a stack.

    Attributes:
        traits: Names of properties that other layers and the findings look for.
        passage: What a read and a write do here, for drawings.
        serves: False to not serve others while the part is open, as on a socket: a tool sets this
            in its own copy of a stack, since what is served is the application's.
    """

    traits: ClassVar[frozenset[str]] = frozenset()
    passage: Passage = Passage()
    serves: bool = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        derive_ranges(cls)

    @property
    def name(self) -> str:
        """The name of this part in errors and in `explain()`."""
        return type(self).__name__

    @property
    def capabilities(self) -> Capabilities:
        """The capabilities of this part together with everything under it."""
        raise NotImplementedError

    @property
    def summary(self) -> str:
        """The line for this part in `explain()`."""
        return repr(self)

    @property
    def second_stores(self) -> Sequence[tuple[str, Chain]]:
        """The second stores of this part, each with its role."""
        return ()

    @property
    def idle(self) -> bool:
        """True while nothing of this part is in progress: no call, task, queue or lock."""
        return True

    def reports(
        self, above: Sequence[Part], below: Sequence[Part], base: Part
    ) -> Iterable[Finding]:
        """Return the mistakes in the position of this part in a chain, silenced ones too."""
        return ()

    @property
    def stack_name(self) -> str | None:
        """The name that this part gives the stack in figures; `None` if it gives none."""
        return None

    def measured(self) -> Iterable[Measured]:
        """Return what has the figures of this part: itself, or the objects that count for it."""
        return (self,)

    def notes(self) -> Iterable[str]:
        """Return lines for `explain()`: consequences of this part's position in the stack."""
        return ()


class Chain(Protocol):
    """A store as `explain` and `find` see it: the parts from the outermost to the backend."""

    @property
    def name(self) -> str:
        """The name of the backend."""

    @property
    def parts(self) -> Sequence[Part]:
        """The layers, outermost first, and the backend as the last."""

    @property
    def findings(self) -> Sequence[Finding]:
        """The mistakes in the stack."""

    @property
    def serializer(self) -> Serializer:
        """The serializer of its values."""

    @property
    def capabilities(self) -> Capabilities:
        """The capabilities of the whole chain."""


def parts_from(part: Any) -> Iterator[Any]:
    """Iterate over a layer, those inside it, and the backend."""
    yield part
    while (part := getattr(part, "inner", None)) is not None:
        yield part


def walk(parts: Iterable[Part], into: Set[str]) -> Iterator[Part]:
    """Iterate over parts, and over those of the second stores of layers with one of these traits.

    Args:
        parts: The parts of a stack.
        into: The traits, such as "spreads" for layers whose entries are in several stores.
    """
    for part in parts:
        yield part
        if part.traits & into:
            for _, store in part.second_stores:
                yield from walk(store.parts, into)


def why_unheard(backends: Sequence[Any], *, by_name: bool = True) -> str:
    """Return why changes in one of these backends cannot be heard; empty if they can.

    Args:
        backends: The backends.
        by_name: False if it suffices to hear that anything has changed.
    """
    silent = {each.name for each in backends if Capability.WATCH not in each.capabilities}
    if silent:
        return f"{' and '.join(sorted(silent))} cannot tell changes"
    vague = {each.name for each in backends if "tells_loss_only" in each.traits}
    if by_name and vague:
        return f"{' and '.join(sorted(vague))} tells that something has changed, and not what"
    return ""


def leaves_process(store: Chain) -> bool:
    """Return True if entries of a store may be seen outside this process, or after its end.

    That is not known of an object of another library, so it is assumed of it.
    """
    return any(
        "adapted" in part.traits or part.capabilities & {Capability.PERSISTENT, Capability.SHARED}
        for part in store.parts
    )
