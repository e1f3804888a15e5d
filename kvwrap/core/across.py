"""One computation of a value in all processes: one computes under a lease, the others wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from kvwrap.core.capability import Capability
from kvwrap.core.changes import Change, Scope, Subscription
from kvwrap.core.clock import Clock
from kvwrap.core.computations import Computation
from kvwrap.core.concurrency import cancel_and_wait, wait_for
from kvwrap.core.entry import Entry
from kvwrap.core.lease import COMPUTATION, RESERVED, record_key
from kvwrap.core.leases import Grant, Leases
from kvwrap.core.locks import is_within_another
from kvwrap.core.lookup import LookupMethods
from kvwrap.core.options import ComputeOptions
from kvwrap.core.outcomes import INVALID, Missing
from kvwrap.core.primitives import Collection, Origin, QualifiedKey
from kvwrap.core.randomness import new_version
from kvwrap.errors import KvwrapError, LockLost, LockTimeout

LEASE: Final = 5.0
"""Seconds after which others compute a value if the process that does so is not heard of."""

Look = Callable[[], Awaitable[Entry | Missing]]


class AcrossMethods(LookupMethods):
    """What `get_or_put` does with `across="processes"`."""

    async def _drop_copies(self, collection: Collection, keys: Sequence[str]) -> None:
        """Make caches forget what they have of keys, such as that they were missing."""
        if keys and any("caches" in part.traits for part in self.parts[:-1]):
            # A conditional change makes them drop their copy, also if it is refused. One of what
            # was missing would hide what another process has stored since.
            await self.remove(collection, keys, [new_version() for _ in keys])

    @asynccontextmanager
    async def _turn_of_process(
        self, computation: Computation, name: QualifiedKey, options: ComputeOptions
    ) -> AsyncIterator[Entry | Missing]:
        """Wait while another process computes a value, and keep others from it in the block.

        Gives the block what another process has stored meanwhile, or why the value is missing.
        Where the store fails, the block runs as if no other process computed, unless its errors
        are to be raised.

        Args:
            computation: The computation. Changes of the key overtake it once this has waited.
            name: The collection and key.
            options: How the value is computed.
        """
        leases = self._leases(COMPUTATION)
        grant, found = await self._wait_for_turn(leases, computation, name, options)
        try:
            yield found
        finally:
            if grant is not None:
                await _release(leases, grant)

    async def _wait_for_turn(
        self,
        leases: Leases,
        computation: Computation,
        name: QualifiedKey,
        options: ComputeOptions,
    ) -> tuple[Grant | None, Entry | Missing]:
        """Return the lease, if it could be had, and what is stored then."""
        collection, key = name

        async def look() -> Entry | Missing:
            computation.is_overtaken = False  # by what this sees, and the factory will see
            await self._drop_copies(collection, (key,))
            return await self._find(collection, key, options)

        record = record_key(COMPUTATION.name, collection, key)
        origins = (*self.trace(collection, key), *self.trace(RESERVED, record))
        # Within another computation, for which processes may wait too, no wait is without end.
        wait = LEASE if is_within_another() else None
        rest = _Rest(self.clock, look, origins)
        grant: Grant | None = None
        try:
            grant = await leases.acquire(collection, key, LEASE, wait, rest, None, rest)
            return grant, await look()
        except _Arrived as arrival:
            return None, arrival.entry
        except LockTimeout:
            return None, await look()
        except BaseException as error:
            if grant is not None:
                await _release(leases, grant)
            if not isinstance(error, KvwrapError) or not self._goes_on_after(error, options):
                raise
            return None, await self._find(collection, key, options)
        finally:
            await rest.close()

    def _goes_on_after(self, error: KvwrapError, options: ComputeOptions) -> bool:
        """Return True, and note it, if a value is computed although the store failed."""
        is_of_value = isinstance(error, INVALID) and not options.computes_invalid
        if self.is_closed or is_of_value or not options.computes_on_error:
            return False
        self._computing.counts.store_failures += 1
        message = "%s: a value is computed without a look at other processes, since that failed: %s"
        self._computing.warn("lease", message, self.name, error)
        return True


async def _release(leases: Leases, grant: Grant) -> None:
    with suppress(LockLost):  # then two may have computed the value
        await leases.release(grant)


class _Arrived(Exception):
    """The value was stored by another process."""

    def __init__(self, entry: Entry) -> None:
        super().__init__()
        self.entry = entry


class _Rest:
    """Waits between two attempts to get a lease, and looks for the value after each wait.

    Changes of the value and of the lease end a wait, where the store tells them.

    Args:
        clock: The store's clock.
        look: Reads the value.
        origins: Where the value and the lease are.
    """

    def __init__(self, clock: Clock, look: Look, origins: Sequence[Origin]) -> None:
        self._clock = clock
        self._look = look
        self._origins = origins
        self._changed = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None
        self._subscriptions: list[Subscription] = []

    async def __call__(self, seconds: float) -> None:
        """Wait for a change, at most for some seconds. Raises `_Arrived` if the value is there."""
        if self._listening is None:
            self._listening = asyncio.get_running_loop().create_task(self._listen())
        await wait_for(self._clock, seconds, self._changed.wait())
        self._changed.clear()
        found = await self._look()
        if isinstance(found, Entry):
            raise _Arrived(found)

    async def _listen(self) -> None:
        for part, collection, key in self._origins:
            if Capability.WATCH in part.capabilities:
                with suppress(KvwrapError):  # then the waits end by their time
                    scope = Scope(collection, key, reserved=True)
                    self._subscriptions.append(await part.subscribe(scope, self._tell))
        if self._subscriptions:
            self._changed.set()  # for what changed before

    def _tell(self, change: Change) -> None:
        self._changed.set()

    async def close(self) -> None:
        """End the subscriptions."""
        if self._listening is not None:
            await cancel_and_wait((self._listening,))
        for subscription in self._subscriptions:
            await subscription.close()
