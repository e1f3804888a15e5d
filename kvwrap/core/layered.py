"""A store with layers over it, which is a store again."""

from __future__ import annotations

import warnings
from collections.abc import Collection as Names
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from kvwrap.core.findings import Finding
from kvwrap.core.lifecycle import Lifecycle
from kvwrap.core.primitives import PRIMITIVES, Primitives
from kvwrap.core.serializer import Serializer
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError, StackWarning

if TYPE_CHECKING:
    from kvwrap.core.layer import Layer


class LayeredStore(Store):
    """What `layer.over(store)` and `stack.over(store)` give.

    Args:
        under: The store to put layers over; its own layers, if it has any, stay in place
            with their state.
        layers: Descriptions, outermost first.
        silenced: Codes of findings that are meant.
    """

    def __init__(self, under: Store, layers: Sequence[Layer], *, silenced: Names[str] = ()) -> None:
        part: Primitives = under.layers[0] if under.layers else under
        own: list[Layer] = []
        try:
            for layer in reversed(layers):
                part = running = layer.running(part)
                own.insert(0, running)
            self._under = under
            self._base = under.base
            self._own = tuple(own)
            self._layers = (*own, *under.layers)
            super().__init__(clock=under.clock, serializer=self._chosen(under.serializer))
            self.silenced = frozenset(silenced) | under.silenced
            self._findings = tuple(self._judged(self.silenced))
        except BaseException:
            for running in own:
                running.release()
            raise
        self.capabilities = part.capabilities
        for name in PRIMITIVES:
            setattr(self, name, getattr(part, name))
        self._on_put = tuple(hook for layer in self._layers if (hook := layer.put_hook))
        self._on_get = tuple(hook for layer in reversed(self._layers) if (hook := layer.get_hook))

    def _chosen(self, otherwise: Serializer) -> Serializer:
        named = [layer.serializer for layer in self._layers if layer.serializer is not None]
        if len(named) > 1:
            raise ConfigurationError(
                "a stack serializes a value once, and this one has several serialization layers: "
                "leave one"
            )
        return named[0] if named else otherwise

    def _judged(self, silenced: Names[str]) -> Iterator[Finding]:
        for place, layer in enumerate(self._layers):
            for finding in layer.findings(
                self._layers[:place], self._layers[place + 1 :], self._base
            ):
                if finding.fatal:
                    raise ConfigurationError(str(finding), store=layer.name)
                if finding.code in silenced:
                    continue
                if place < len(self._own):
                    warnings.warn(str(finding), StackWarning, stacklevel=4)
                yield finding

    @property
    def name(self) -> str:
        return self._base.name

    @property
    def base(self) -> Store:
        return self._base

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self._layers

    @property
    def findings(self) -> tuple[Finding, ...]:
        return self._findings

    async def setup(self) -> None:
        """Open the store under the layers, then the layers from the inside out.

        What has been opened is closed again if one of them fails.
        """
        async with AsyncExitStack() as opened:
            for part in self._parts():
                await part.open()
                opened.push_async_callback(part.close)
            opened.pop_all()

    async def teardown(self) -> None:
        """Close the layers from the outside in, then the store under them."""
        async with AsyncExitStack() as closing:
            for part in self._parts():
                closing.push_async_callback(part.close)

    async def close(self) -> None:
        if not self.is_open and not self.is_closed:
            # Never opened as a whole: its parts may have opened themselves when used. Those
            # that somebody opened are that somebody's to close.
            async with AsyncExitStack() as closing:
                for part in self._parts():
                    if not part.users:
                        closing.push_async_callback(part.close)
        await super().close()

    def _parts(self) -> tuple[Lifecycle, ...]:
        return (self._under, *reversed(self._own))

    def __repr__(self) -> str:
        return " > ".join(repr(part) for part in (*self._layers, self._base))
