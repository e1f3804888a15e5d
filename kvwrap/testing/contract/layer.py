"""The contract of a layer."""

from __future__ import annotations

from kvwrap.testing.contract.layer_description import Description
from kvwrap.testing.contract.layer_trouble import Trouble
from kvwrap.testing.contract.layer_use import Use


class LayerContract(Description, Use, Trouble):
    """What every layer keeps to, whatever it does.

    Subclass it in a test file, under a name that pytest collects, and state `make_layers`;
    `make_store` too, to run over another backend than memory.

    >>> from kvwrap import Passthrough
    >>> class TestPassthrough(LayerContract):
    ...     def make_layers(self, clock):
    ...         return Passthrough()

    That the promises of a store hold under the layer as well is for `StoreContract` to show.

    Attributes:
        lost: Capabilities that the layer takes away from the backend.
        gained: Capabilities that it adds.
        writable: False for a layer that refuses every write.
    """
