"""The contract of a store."""

from __future__ import annotations

from kvwrap.testing.contract.atomic import Atomic
from kvwrap.testing.contract.batches import Batches
from kvwrap.testing.contract.computed import Computed
from kvwrap.testing.contract.computed_many import ComputedMany
from kvwrap.testing.contract.expiry import Expiry
from kvwrap.testing.contract.lifecycle import Lifecycle
from kvwrap.testing.contract.locks import Locks
from kvwrap.testing.contract.names import Names
from kvwrap.testing.contract.ranges import Ranges
from kvwrap.testing.contract.values import Values
from kvwrap.testing.contract.watch import Watching


class StoreContract(
    Values,
    Names,
    Expiry,
    Batches,
    Ranges,
    Atomic,
    Computed,
    ComputedMany,
    Watching,
    Locks,
    Lifecycle,
):
    """A test suite of every method of a store, and of every guarantee that all stores give.

    Subclass it in a test file, under a name that pytest collects, and define `make_store`:

    >>> from kvwrap import MemoryStore
    >>> class TestMemoryStore(StoreContract):
    ...     def make_store(self, clock):
    ...         return MemoryStore(clock=clock)

    For a store that needs other fixtures, override the fixture `store` instead. An operation
    that is not in the store's `capabilities` must raise `UnsupportedOperation`.
    """
