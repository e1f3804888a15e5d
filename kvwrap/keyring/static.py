"""Bound keys that are all in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from kvwrap.keyring.cipher import Cipher


class PlainKeys:
    """Keys that are all in memory, so that no call waits for them."""

    waits = False
    idle = True

    def __init__(self, primary: str, ciphers: Iterable[Cipher]) -> None:
        by_name = {cipher.name: cipher for cipher in ciphers}
        self.primary = by_name[primary]
        self.ciphers: Mapping[bytes, Cipher] = {c.step: c for c in by_name.values()}

    @property
    def names(self) -> Mapping[bytes, str]:
        return {step: cipher.name for step, cipher in self.ciphers.items()}

    async def fetch_primary(self) -> Cipher:
        return self.primary

    async def fetch_ciphers(self, steps: Collection[bytes]) -> Mapping[bytes, Cipher]:
        return self.ciphers

    async def reload(self) -> None:
        """Do nothing: these keys were passed in and have no source to fetch from."""
