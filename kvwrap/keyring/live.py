"""A keyring that is fetched, and fetched again while the process runs."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from kvwrap.core.clock import Clock
from kvwrap.core.concurrency import KeyedLocks
from kvwrap.core.ttl import checked_ttl
from kvwrap.errors import ConfigurationError, KvwrapError
from kvwrap.keyring.calling import called
from kvwrap.keyring.cipher import Cipher
from kvwrap.keyring.source import KeySource
from kvwrap.keyring.static import PlainKeys

_log = logging.getLogger("kvwrap.encryption")

_PAUSE = 5.0
"""Seconds between two fetches for keys that are not known, and after one that failed."""


KeysOf = Callable[[Any, PlainKeys | None], PlainKeys]
"""Makes keys from what was fetched, continuing the ciphers of those fetched before."""


class LiveKeyring(KeySource):
    """Keys that a function gives: a key service's, or those of a file that may change.

    Made by `Keyring.from_callable`.

    It is called when the store is opened (or first used), again every `refresh` seconds, and
    when an entry names a key that is not known, at most every 5 seconds: so a process learns
    of a key that was added elsewhere with the first entry sealed with it. While it fails,
    the keys at hand are used on, and a line is logged.

    Args:
        fetch: Gives what `keys_of` takes. Async, or else run in a thread.
        keys_of: Makes the keys from it, given those fetched before.
        refresh: Seconds after which the function is asked anew; `None` for only when a key
            is not known, and by `store.find(Encryption).reload()`.

    >>> from kvwrap import Keyring
    >>> Keyring.from_callable(lambda: Keyring.from_file("/run/secrets/keys"), refresh=60)
    LiveKeyring(refresh=60)
    """

    def __init__(
        self,
        fetch: Callable[[], Any],
        keys_of: KeysOf,
        *,
        refresh: float | None = None,
    ) -> None:
        if not callable(fetch):
            raise ConfigurationError(
                "from_callable takes a function that gives a Keyring, or a mapping of keys, not "
                f"{type(fetch).__name__}"
            )
        self._fetch = fetch
        self._keys_of = keys_of
        self._refresh = refresh
        self._every = math.inf if refresh is None else checked_ttl(refresh)

    def bind(self, clock: Clock) -> LiveKeys:
        return LiveKeys(self._fetch, self._keys_of, self._every, clock)

    def __repr__(self) -> str:
        return f"LiveKeyring(refresh={self._refresh!r})"


class LiveKeys:
    """The keys that were fetched last, at work."""

    waits = True

    def __init__(
        self,
        fetch: Callable[[], Any],
        keys_of: KeysOf,
        every: float,
        clock: Clock,
    ) -> None:
        self._fetch = fetch
        self._keys_of = keys_of
        self._every = every
        self._clock = clock
        self._locks = KeyedLocks()
        self._keys: PlainKeys | None = None
        self._due = -math.inf
        self._again = -math.inf

    @property
    def sealing(self) -> Cipher:
        assert self._keys is not None
        return self._keys.sealing

    @property
    def opening(self) -> Mapping[bytes, Cipher]:
        return {} if self._keys is None else self._keys.opening

    def named(self) -> Mapping[bytes, str]:
        return {} if self._keys is None else self._keys.named()

    async def for_sealing(self) -> Cipher:
        return (await self._current()).sealing

    async def for_opening(self, steps: Collection[bytes]) -> Mapping[bytes, Cipher]:
        keys = await self._current()
        if any(step not in keys.opening for step in steps):
            keys = await self._fetched(lambda: self._clock.monotonic() >= self._again)
        return keys.opening

    async def reload(self) -> None:
        """Fetch now.

        Raises:
            StoreUnavailable: The function failed; the keys at hand stay.
        """
        async with self._locks.hold("keys"):
            await self._load()

    async def _current(self) -> PlainKeys:
        keys = self._keys
        # While one caller fetches, the others go on with what there is.
        if keys is not None and (self._clock.monotonic() < self._due or len(self._locks)):
            return keys
        return await self._fetched(lambda: self._clock.monotonic() >= self._due)

    async def _fetched(self, wanted: Callable[[], bool]) -> PlainKeys:
        async with self._locks.hold("keys"):
            if self._keys is None:
                return await self._load()
            if wanted():
                try:
                    return await self._load()
                except KvwrapError as error:
                    _log.warning("the keys at hand are used on: %s", error)
                    self._due = self._again = self._clock.monotonic() + _PAUSE
            return self._keys

    async def _load(self) -> PlainKeys:
        found = await called(self._fetch, what="the function that gives the keys")
        self._keys = self._keys_of(found, self._keys)
        now = self._clock.monotonic()
        self._due, self._again = now + self._every, now + _PAUSE
        return self._keys
