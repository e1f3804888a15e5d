"""The contract of a layer."""

from __future__ import annotations

from kvwrap.testing.contract.layer_description import Description
from kvwrap.testing.contract.layer_failures import Failures
from kvwrap.testing.contract.layer_operations import Operations


class LayerContract(Description, Operations, Failures):
    """A test suite of what every layer must satisfy, whatever it does.

    Subclass it in a test file, under a name that pytest collects, and define `make_layers`.
    Define `make_store` too, to run it over a backend other than memory.

    >>> from kvwrap import Passthrough
    >>> class TestPassthrough(LayerContract):
    ...     def make_layers(self, clock):
    ...         return Passthrough()

    `StoreContract`, over a store with the layer, checks that the guarantees of a store still
    hold.

    Attributes:
        lost: Capabilities that the backend has and the layer removes.
        gained: Capabilities that the layer adds.
        writable: False if the layer refuses every write.
    """
