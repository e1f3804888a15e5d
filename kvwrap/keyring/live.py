"""Keys that a function provides, fetched again while the process runs."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from kvwrap.core.clock import Clock
from kvwrap.core.concurrency import KeyedLocks
from kvwrap.core.ttl import checked_ttl
from kvwrap.core.validation import checked_seconds
from kvwrap.errors import ConfigurationError, KvwrapError
from kvwrap.keyring.calling import TIMEOUT, call
from kvwrap.keyring.cipher import Cipher
from kvwrap.keyring.source import KeySource
from kvwrap.keyring.static import PlainKeys

_log = logging.getLogger("kvwrap.encryption")

_RETRY_DELAY = 5.0
"""Seconds between two fetches for unknown keys, and after a failed fetch."""


MakeKeys = Callable[[Any], PlainKeys]
"""Makes keys from a fetched value."""


class LiveKeyring(KeySource):
    """Keys that a function provides, for example from a key service or a file that may change.

    Created by `Keyring.from_callable`.

    The function is called when the store is opened (or first used) and again every `refresh`
    seconds. It is also called when an entry names an unknown key, at most every 5 seconds.
    So a process learns of a key that was added elsewhere with the first entry sealed with
    it. While the function fails, the cached keys stay in use and a warning is logged.

    Args:
        fetch: Returns the value that `make_keys` takes. Async, or else run in a thread.
        make_keys: Makes the keys from that value.
        refresh: Seconds after which the function is called again. `None`: only when a key is
            unknown, and by `store.find(Encryption).reload()`.
        timeout: Seconds within which the function must return; a later call tries again.

    >>> from kvwrap import Keyring
    >>> Keyring.from_callable(lambda: Keyring.from_file("/run/secrets/keys"), refresh=60)
    LiveKeyring(refresh=60)
    """

    def __init__(
        self,
        fetch: Callable[[], Any],
        make_keys: MakeKeys,
        *,
        refresh: float | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        if not callable(fetch):
            raise ConfigurationError(
                "`fetch` must be a function that returns a Keyring or a mapping of names to "
                f"keys; got {type(fetch).__name__}: for fixed keys, use Keyring(...)"
            )
        self._fetch = fetch
        self._make_keys = make_keys
        self._refresh = refresh
        self._timeout = checked_seconds(timeout, "timeout")
        self._interval = math.inf if refresh is None else checked_ttl(refresh, "refresh")

    def bind(self, clock: Clock) -> LiveKeys:
        return LiveKeys(self._fetch, self._make_keys, self._interval, self._timeout, clock)

    def __repr__(self) -> str:
        return f"LiveKeyring(refresh={self._refresh!r})"


class LiveKeys:
    """The keys of the last successful fetch."""

    waits = True

    def __init__(
        self,
        fetch: Callable[[], Any],
        make_keys: MakeKeys,
        interval: float,
        timeout: float,
        clock: Clock,
    ) -> None:
        self._fetch = fetch
        self._make_keys = make_keys
        self._interval = interval
        self._timeout = timeout
        self._clock = clock
        self._locks = KeyedLocks()
        self._keys: PlainKeys | None = None
        self._refresh_at = -math.inf
        self._retry_at = -math.inf

    @property
    def primary(self) -> Cipher:
        assert self._keys is not None
        return self._keys.primary

    @property
    def ciphers(self) -> Mapping[bytes, Cipher]:
        return {} if self._keys is None else self._keys.ciphers

    @property
    def names(self) -> Mapping[bytes, str]:
        return {} if self._keys is None else self._keys.names

    @property
    def idle(self) -> bool:
        return not self._locks

    async def fetch_primary(self) -> Cipher:
        return (await self._get_keys()).primary

    async def fetch_ciphers(self, steps: Collection[bytes]) -> Mapping[bytes, Cipher]:
        keys = await self._get_keys()
        if any(step not in keys.ciphers for step in steps):
            keys = await self._refresh_if(lambda: self._clock.monotonic() >= self._retry_at)
        return keys.ciphers

    async def reload(self) -> None:
        """Fetch the keys now.

        Raises:
            StoreUnavailable: The function failed. The cached keys stay in use.
        """
        async with self._locks.hold("keys", shares_errors=True):
            await self._load()

    async def _get_keys(self) -> PlainKeys:
        keys = self._keys
        # While one caller fetches, the others continue with the cached keys.
        if keys is not None and (self._clock.monotonic() < self._refresh_at or self._locks):
            return keys
        return await self._refresh_if(lambda: self._clock.monotonic() >= self._refresh_at)

    async def _refresh_if(self, is_due: Callable[[], bool]) -> PlainKeys:
        async with self._locks.hold("keys", shares_errors=True):
            if self._keys is None:
                return await self._load()
            # Checked under the lock: another caller may just have fetched.
            if is_due():
                try:
                    return await self._load()
                except KvwrapError as error:
                    _log.warning("key refresh failed; continuing with the cached keys: %s", error)
                    self._refresh_at = self._retry_at = self._clock.monotonic() + _RETRY_DELAY
            return self._keys

    async def _load(self) -> PlainKeys:
        fetched = await call(
            self._fetch, role="the function of Keyring.from_callable", bound=self._timeout
        )
        self._keys = self._make_keys(fetched)
        now = self._clock.monotonic()
        self._refresh_at, self._retry_at = now + self._interval, now + _RETRY_DELAY
        return self._keys
