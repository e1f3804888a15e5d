"""Where leases work: what a stack must be able to do, and what is told about it."""

from __future__ import annotations

from typing import Final, Protocol

from kvwrap.core.capability import Capability
from kvwrap.core.findings import Finding, warn
from kvwrap.core.part import Chain, Part, walk
from kvwrap.core.primitives import Primitives
from kvwrap.errors import ConfigurationError, UnsupportedOperation

_STORES: Final = (
    "Use a store of a server or file, such as RedisStore, PostgreSQLStore or SQLiteStore, without "
    "limits on its size"
)

_NEEDED: Final = frozenset({Capability.COMPARE_AND_PUT, Capability.SHARED})

LOCK_OVER_FALLBACK: Final = Finding(
    "lock-over-fallback",
    "A lock is used over a fallback. In an outage of the inner store no lock can be acquired or "
    "renewed, and the blocks of those that are held end with LockLost.",
    "Use locks on a store without .fallback(...).",
)


class LeaseStore(Primitives, Chain, Protocol):
    """What leases need of a store."""

    silenced: frozenset[str]


class Suitability:
    """Refuses stacks in which leases do not work.

    Args:
        store: The store, with all layers.

    Attributes:
        findings: What is wrong with using locks over this stack.
        is_durable: True once the backends are known to drop no records.
    """

    def __init__(self, store: LeaseStore) -> None:
        self.findings: tuple[Finding, ...] = ()
        self._store = store
        # Those that may have the records of leases.
        self._parts = list(walk(store.parts, {"spreads"}))
        self._longest = min(map(_longest_ttl, self._parts))
        self._is_raw = any("raw" in part.traits for part in self._parts)
        self.is_durable = False
        self._warns = any("falls_back" in layer.traits for layer in store.parts[:-1])

    def check_lock(self, ttl: float) -> None:
        """Raise the error for a store in which locks with this ttl are not safe."""
        store = self._store
        if (problem := self._problem("within one process use asyncio.Lock")) is not None:
            raise self._unsuited_to_locks(*problem)
        if ttl >= self._longest:
            raise ConfigurationError(
                "`ttl` must be below the longest ttl that a layer allows entries, or the record of "
                f"a held lock would expire; got {ttl:g} and a maximum of {self._longest:g}: "
                "shorten `ttl`, or use a stack without that layer",
                store=store.name,
            )
        if self._warns:
            self._warns = False
            if LOCK_OVER_FALLBACK.code not in store.silenced:
                self.findings = (LOCK_OVER_FALLBACK,)
                warn(LOCK_OVER_FALLBACK)

    async def check_durable(self) -> None:
        """Raise the error for a backend that may drop the record of a held lock."""
        for part in self._parts:
            evicts = getattr(part, "evicts", None)  # of a backend
            if evicts is not None and (reason := await evicts()) is not None:
                raise self._unsuited_to_locks(reason, _STORES)
        self.is_durable = True

    def check_computation(self) -> None:
        """Raise the error for a store in which processes cannot tell who computes a value.

        One that drops records is no error: that costs a computation, and makes nothing wrong.
        """
        if (problem := self._problem("leave out `across`")) is not None:
            reason, hint = problem
            raise UnsupportedOperation(
                'across="processes" must have a store that compares versions, and that all '
                f"processes share; of this {self._store.name}: {reason}. {hint}",
                store=self._store.name,
            )

    def _problem(self, alone: str) -> tuple[str, str] | None:
        """Return why processes cannot have leases here, and what to do.

        Args:
            alone: What to do where other processes see nothing of the store.
        """
        if self._is_raw:
            return "its data is another program's (raw=True)", "Open another store without raw=True"
        missing = _NEEDED - self._store.capabilities
        if not missing:
            return None
        if Capability.COMPARE_AND_PUT in missing:
            return "it cannot compare versions", _STORES
        return f"other processes do not see its entries: {alone}", _STORES

    def _unsuited_to_locks(self, reason: str, hint: str) -> UnsupportedOperation:
        name = self._store.name
        return UnsupportedOperation(
            "a lock must have a store that compares versions, that all processes share, and that "
            f"evicts nothing; of this {name}: {reason}. {hint}",
            store=name,
        )


def _longest_ttl(layer: Part) -> float:
    """Return the longest ttl that a layer allows the entries of a stack."""
    maximum = getattr(layer, "maximum", None) if "clamps_ttl" in layer.traits else None
    return float("inf") if maximum is None else maximum * (1 - getattr(layer, "jitter", 0.0))
