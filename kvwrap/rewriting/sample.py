"""A sample of a stack's entries: whether its keys and codecs open them."""

from __future__ import annotations

from typing import Final, NamedTuple

from kvwrap.core.capability import Capability
from kvwrap.core.peeking import peeking
from kvwrap.core.primitives import Collection, KeyRange
from kvwrap.core.store import Store
from kvwrap.core.validation import is_reserved
from kvwrap.errors import ConfigurationError, KvwrapError, UnsupportedOperation
from kvwrap.rewriting.chain import ENTRY_ERRORS, Place
from kvwrap.rewriting.scope import Scope, scopes_of

_MOST_KEYS: Final = 10
_MOST_COLLECTIONS: Final = 5


class Sample(NamedTuple):
    """A sample of entries.

    Attributes:
        read: Number of entries that were read.
        error: The first error of one that cannot be decoded; `None` if all can.
    """

    read: int = 0
    error: KvwrapError | None = None


async def sample(store: Store) -> Sample:
    """Read a few entries past the layers that answer with copies, count, or renew.

    That takes a page of keys of the default collection. Where the backend enumerates in order, so
    that its collections are found without going through all keys, it also takes one of a few
    others. Nothing is read where no layer changes bytes, where keys cannot be enumerated, and in a
    backend with `raw=True`, which has values of other programs.

    Args:
        store: A running store.

    Raises:
        StoreUnavailable: The backend failed.
    """
    if "raw" in store.base.traits:
        return Sample()
    try:
        scope = next(scopes_of(store, None, ""))
        with peeking():
            return await _read(scope)
    except (ConfigurationError, UnsupportedOperation):
        return Sample()


async def _read(scope: Scope) -> Sample:
    part = scope.part
    if Capability.KEYS not in part.capabilities:
        return Sample()
    names: list[Collection] = [None]
    if {Capability.RANGE, Capability.COLLECTIONS} <= part.capabilities:
        names += [name for name in await part.list_collections() if name is not None]
    count = 0
    for name in [name for name in names if not is_reserved(name)][:_MOST_COLLECTIONS]:
        page = await part.list_keys(name, KeyRange(), None)
        for key in [key for key in page.keys if not is_reserved(key)][:_MOST_KEYS]:
            # One by one, so that each error names its key.
            try:
                (reading,) = await scope.chain.read(Place(name, [key]))
            except ENTRY_ERRORS as error:
                return Sample(count + 1, error)
            count += reading.stored is not None
            if reading.error is not None:
                return Sample(count, reading.error)
    return Sample(count)
