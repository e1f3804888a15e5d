"""The keys of a keyring that is in memory as a whole."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from kvwrap.keyring.cipher import Cipher


class PlainKeys:
    """Keys that are all in memory, so that nothing waits for them."""

    waits = False

    def __init__(self, sealing: Cipher, opening: Iterable[Cipher]) -> None:
        self.sealing = sealing
        self.opening: Mapping[bytes, Cipher] = {cipher.step: cipher for cipher in opening}

    def named(self) -> Mapping[bytes, str]:
        return {step: cipher.name for step, cipher in self.opening.items()}

    async def for_sealing(self) -> Cipher:
        return self.sealing

    async def for_opening(self, steps: Collection[bytes]) -> Mapping[bytes, Cipher]:
        return self.opening

    async def reload(self) -> None:
        """Do nothing: the keys were given, and are fetched from nowhere."""
