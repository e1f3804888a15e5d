"""What a reader of foreign entries is to the layer that asks it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection
from kvwrap.errors import ConfigurationError


class LegacyReader(Protocol):
    """Undoes what another library did to a value.

    `Encryption` and `Compression` ask their readers, in order, about entries that are not of
    their own making. Nothing is ever written in these forms; `kvwrap.rewrite` brings what
    is left of them into the stack's own.
    """

    @property
    def authenticates(self) -> bool:
        """Whether it refuses what was not written with its key."""

    def read(self, entry: Entry, collection: Collection, key: str) -> Entry | None:
        """The entry as it was before, or `None` for one that is not of this form.

        Raises:
            DecryptionError: It is of this form and does not open.
            CorruptEntry: It is of this form and broken.
        """


def checked_readers(readers: Any) -> tuple[LegacyReader, ...]:
    """Readers, in their order; raises `ConfigurationError` for what is none."""
    found = tuple(readers) if isinstance(readers, Iterable) else (readers,)
    if isinstance(readers, str | bytes) or not all(
        hasattr(reader, "authenticates") and callable(getattr(reader, "read", None))
        for reader in found
    ):
        raise ConfigurationError("legacy are readers of foreign entries, from kvwrap.integrations")
    return found
