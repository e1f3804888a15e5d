"""Readers of entries that other libraries wrote, and the layers' check of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection
from kvwrap.errors import ConfigurationError


class LegacyReader(Protocol):
    """Decodes values that another library encoded.

    `Encryption` and `Compression` call their readers, in order, for entries that they did
    not write themselves. Nothing is ever written in these formats. `kvwrap.rewrite` converts
    the remaining entries to the stack's own format.
    """

    @property
    def authenticates(self) -> bool:
        """Whether the reader refuses values that were not written with its key."""

    def read(
        self, entry: Entry, collection: Collection, key: str, *, limit: int | None = None
    ) -> Entry | None:
        """Decode the entry. Returns `None` for an entry of another format.

        Args:
            entry: The entry as it is stored.
            collection: Its collection, for errors.
            key: Its key, for errors.
            limit: The most bytes that its body may have afterwards; `None` for no limit.

        Raises:
            DecryptionError: The entry has this format and does not decrypt.
            CorruptEntry: The entry has this format and is corrupt, or exceeds the limit.
        """


def checked_readers(readers: Any) -> tuple[LegacyReader, ...]:
    """Return the readers in their order. Raises `ConfigurationError` for other objects."""
    several = isinstance(readers, Iterable) and not isinstance(readers, str | bytes)
    checked: tuple[LegacyReader, ...] = tuple(readers) if several else (readers,)
    for reader in checked:
        if not hasattr(reader, "authenticates") or not callable(getattr(reader, "read", None)):
            raise ConfigurationError(
                "`legacy` must be a list of readers from kvwrap.integrations, such as "
                f"[FernetTokens(keys)]; got {type(reader).__name__}"
            )
    return checked
