"""Histories of operations on one register, and whether some order explains them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from kvwrap import Store, StoreUnavailable

State = int | None
"""The value of the register; `None` if it has none."""


@dataclass
class Operation:
    """One operation of a history.

    Attributes:
        name: Name of the method.
        argument: The number that it was called with, if it takes one.
        began: When it began, in the order of the history.
        ended: When it ended; `None` if it failed, so that it may take effect at any time.
        result: What it returned.
    """

    name: str
    argument: int | None
    began: int
    ended: int | None = None
    result: Any = None

    def after(self, state: State) -> tuple[State, Any]:
        """Return the state after the operation, and what it returns in this state."""
        match self.name:
            case "put":
                return self.argument, None
            case "put_if_absent":
                return (state, False) if state is not None else (self.argument, True)
            case "increment":
                return (state or 0) + 1, (state or 0) + 1
            case "delete":
                return None, state is not None
            case "delete anything":
                return None, self.result
            case "pop":
                return None, state
            case _:
                return state, state


@dataclass
class History:
    """What several clients did to the key `k`, in the order in which it began and ended.

    Attributes:
        exact_deletes: Whether `delete` must tell exactly if there was a value.
        operations: The operations.
        events: The number of beginnings and ends so far.
    """

    exact_deletes: bool = True
    operations: list[Operation] = field(default_factory=list)
    events: int = 0

    def begin_with(self, value: int) -> None:
        """Record that the key had this value before everything else."""
        self.operations.append(Operation("put", value, self._next(), self._next()))

    async def do(self, store: Store, name: str, argument: int | None = None) -> None:
        """Do an operation and record it."""
        exact = self.exact_deletes or name != "delete"
        operation = Operation(name if exact else "delete anything", argument, self._next())
        self.operations.append(operation)
        call: Callable[..., Awaitable[Any]] = partial(getattr(store, name), "k")
        try:
            result = await (call() if argument is None else call(argument))
        except StoreUnavailable:
            return
        operation.result = result
        operation.ended = self._next()

    def _next(self) -> int:
        self.events += 1
        return self.events

    @property
    def is_linearizable(self) -> bool:
        """True if the operations have an order that respects time and explains all results."""
        return _explained(self.operations, None, set())

    def __str__(self) -> str:
        return "\n".join(map(str, self.operations))


def _explained(
    operations: Sequence[Operation], state: State, tried: set[tuple[State, frozenset[int]]]
) -> bool:
    finished = [operation for operation in operations if operation.ended is not None]
    if not finished:
        return True  # those that failed may never have taken effect
    known = (state, frozenset(operation.began for operation in operations))
    if known in tried:
        return False
    tried.add(known)
    first_end = min(operation.ended for operation in finished if operation.ended is not None)
    for operation in operations:
        if operation.began > first_end:
            continue
        following, result = operation.after(state)
        if operation.ended is not None and result != operation.result:
            continue
        others = [other for other in operations if other is not operation]
        if _explained(others, following, tried):
            return True
    return False
