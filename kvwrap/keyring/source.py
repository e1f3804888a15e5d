"""Where `Encryption` takes its keys from, and those keys at work."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NoReturn, Protocol, Self

from kvwrap.core.clock import Clock
from kvwrap.errors import ConfigurationError
from kvwrap.keyring.cipher import Cipher, step_of


class OpenKeys(Protocol):
    """Keys at work for one layer over one store. Keys go by the step they leave in a codec."""

    waits: bool
    """Whether keys may have to be waited for; where not, `sealing` and `opening` are set."""

    @property
    def sealing(self) -> Cipher:
        """The primary key's cipher, where nothing has to be waited for."""

    @property
    def opening(self) -> Mapping[bytes, Cipher]:
        """The ciphers at hand, by their steps."""

    def named(self) -> Mapping[bytes, str]:
        """The names of the keys known of at present, by their steps."""

    async def for_sealing(self) -> Cipher:
        """The primary key's cipher."""

    async def for_opening(self, steps: Collection[bytes]) -> Mapping[bytes, Cipher]:
        """The ciphers for these steps; a step whose key is unknown is not in it."""

    async def reload(self) -> None:
        """Fetch anew what comes from elsewhere."""


class KeySource:
    """An immutable description of keys; `Keyring` is the simplest.

    Not pickled: every process loads its keys from where they are kept.
    """

    def bind(self, clock: Clock) -> OpenKeys:
        """These keys at work, for one layer."""
        raise NotImplementedError

    @property
    def reference(self) -> Mapping[str, str] | None:
        """Where the keys were read, as a configuration says it: `{"env": "NAME"}`, say."""
        return None

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "keyrings are not pickled: each process loads its keys from where they are kept"
        )


def checked_keys(keys: object, otherwise: str) -> None:
    """Refuse what is not a mapping with a key in it, in these words."""
    if not isinstance(keys, Mapping) or not keys:
        raise ConfigurationError(otherwise)
    for name in keys:
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"a key's name is a string and not empty, not {name!r}")


def names_by_step(names: Sequence[str]) -> dict[bytes, str]:
    """The names by the steps that they leave in a codec."""
    return {step_of(name): name for name in names}
