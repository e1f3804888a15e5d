"""The contract of a store."""

from __future__ import annotations

from kvwrap.testing.contract.atomic import Atomic
from kvwrap.testing.contract.batches import Batches
from kvwrap.testing.contract.lifecycle import Lifecycle
from kvwrap.testing.contract.lifetimes import Lifetimes
from kvwrap.testing.contract.names import Names
from kvwrap.testing.contract.values import Values


class StoreContract(Values, Names, Lifetimes, Batches, Atomic, Lifecycle):
    """Every method of a store, and every promise that holds for all of them.

    Subclass it in a test file, under a name that pytest collects, and state
    `make_store`:

    >>> from kvwrap import MemoryStore
    >>> class TestMemoryStore(StoreContract):
    ...     def make_store(self, clock):
    ...         return MemoryStore(clock=clock)

    A store that needs other fixtures overrides the fixture `store` instead. What the
    store's `capabilities` do not hold must raise `UnsupportedOperation`.
    """
