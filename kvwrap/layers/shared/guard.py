"""A circuit breaker around the calls of a second store."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from kvwrap.core.clock import Clock
from kvwrap.errors import CircuitOpen, KvwrapError, RateLimited, StoreFull, StoreUnavailable
from kvwrap.layers.shared.breaker import Breaker, BreakerState, Outcome

T = TypeVar("T")
P = ParamSpec("P")

_NOT_DOWN = (CircuitOpen, RateLimited, StoreFull)
"""Failures that cost no time, and do not mean that the backend is down."""


class Guard:
    """Makes the calls of a layer to one of its stores, through a circuit breaker.

    Args:
        clock: Source of the time.
        failures: Number of consecutive failures after which the store is not called.
        open_for: How long it is not called then, in seconds.
        owner: Name of the layer, for errors.
        role: What the store is to that layer, for errors.

    Attributes:
        breaker: The circuit breaker.
    """

    def __init__(
        self, clock: Clock, *, failures: int, open_for: float, owner: str, role: str
    ) -> None:
        self.breaker = Breaker(clock, failures=failures, open_for=open_for)
        self._owner = owner
        self._role = role

    @property
    def state(self) -> BreakerState:
        """The state of the circuit breaker."""
        return self.breaker.state

    @property
    def opened(self) -> int:
        """How often the circuit breaker has opened."""
        return self.breaker.opened

    async def call(
        self, call: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Make the call and return its result.

        Raises:
            CircuitOpen: The store failed repeatedly and is not called for now.
        """
        return await self.breaker.call(
            functools.partial(call, *args, **kwargs), self._rejection, _judge
        )

    def _rejection(self) -> CircuitOpen:
        return CircuitOpen(
            f"the {self._role} of {self._owner} failed repeatedly and is not called for now",
            store=self._owner,
        )


def _judge(error: Exception) -> Outcome:
    if isinstance(error, StoreUnavailable):
        return Outcome.UNKNOWN if isinstance(error, _NOT_DOWN) else Outcome.DOWN
    return Outcome.UP if isinstance(error, KvwrapError) else Outcome.UNKNOWN
