"""Leases, after whose end etcd frees the keys that have them; many keys share one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Final

from kvwrap.core.concurrency import KeyedLocks

_SHORTEST_STEP: Final = 4
"""Seconds between the ends of the leases of short lifetimes."""
_STEPS_IN_A_LIFETIME: Final = 16
_MARGIN: Final = 1
"""Seconds between the last end of an entry and that of its lease."""
_LONGEST: Final = 9_000_000_000
"""Seconds of a lease that etcd grants. An entry that lives longer is freed then all the same."""


class Leases:
    """The leases that this client was granted.

    The ends of the leases are rounded up, by at most a sixteenth of the lifetime or 4 seconds, so
    that entries with nearby ends have the same one. Time is that of the event loop: the clock of
    the store may be set, and etcd counts from the moment of the grant.

    Args:
        grant: Asks for a lease that lives for these seconds. Returns its number.
    """

    def __init__(self, grant: Callable[[int], Awaitable[int]]) -> None:
        self._grant = grant
        self._held: dict[int, int] = {}
        self._granting = KeyedLocks()

    async def get(self, lifetime: float) -> int:
        """Return a lease that ends after an entry which is written now and lives these seconds."""
        now = asyncio.get_running_loop().time()
        step = step_of(lifetime)
        end = math.ceil((now + lifetime) / step) * step
        lease = self._held.get(end)
        if lease is not None:
            return lease
        async with self._granting.hold(end, shares_errors=True):
            if end not in self._held:
                # Measured from before the request, so that the lease never ends earlier.
                seconds = math.ceil(end - now) + _MARGIN
                self._held = {past: held for past, held in self._held.items() if past > now}
                self._held[end] = await self._grant(min(seconds, _LONGEST))
            return self._held[end]

    def forget(self) -> None:
        """Forget all leases, since the servers no longer know one of them."""
        self._held.clear()


def step_of(lifetime: float) -> int:
    """Return the seconds between the ends of the leases for a lifetime, a power of 2."""
    most = min(max(lifetime, 0), _LONGEST) / _STEPS_IN_A_LIFETIME
    return max(_SHORTEST_STEP, 1 << max(0, int(most).bit_length() - 1))
