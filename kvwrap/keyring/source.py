"""Key sources of `Encryption`, and the bound keys that a layer uses."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NoReturn, Protocol, Self

from kvwrap.core.clock import Clock
from kvwrap.keyring.cipher import Cipher


class BoundKeys(Protocol):
    """Keys of one layer over one store, identified by their codec steps."""

    waits: bool
    """Whether keys may have to be fetched. If False, `primary` and `ciphers` are always set."""

    @property
    def primary(self) -> Cipher:
        """The primary key's cipher. Valid if `waits` is False."""

    @property
    def ciphers(self) -> Mapping[bytes, Cipher]:
        """The ciphers that are available without waiting, by codec step."""

    @property
    def names(self) -> Mapping[bytes, str]:
        """The names of the keys known at present, by codec step."""

    @property
    def idle(self) -> bool:
        """True while no key is being fetched or unwrapped."""

    async def fetch_primary(self) -> Cipher:
        """Return the primary key's cipher, after fetching it if necessary."""

    async def fetch_ciphers(self, steps: Collection[bytes]) -> Mapping[bytes, Cipher]:
        """Return the ciphers of these codec steps, without those whose key is unknown."""

    async def reload(self) -> None:
        """Fetch the keys again, if they come from elsewhere."""


class KeySource:
    """An immutable description of keys; `Keyring` is the simplest.

    It cannot be pickled: every process loads its own keys.
    """

    def bind(self, clock: Clock) -> BoundKeys:
        """Return the keys for the use of one layer."""
        raise NotImplementedError

    @property
    def reference(self) -> Mapping[str, str] | None:
        """The source of the keys as a configuration states it, for example `{"env": "NAME"}`."""
        return None

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a keyring cannot be pickled: load the keys in each process, for example with "
            "Keyring.from_env('NAME')"
        )
