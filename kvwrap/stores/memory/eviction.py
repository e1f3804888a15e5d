"""Which entries to evict: S3-FIFO (Yang et al., SOSP 2023).

New items enter a small queue. Those that are used while they are in it move to the main queue,
the others leave, and a hash of their name is remembered. An item whose name is remembered enters
the main queue at once. There, used items get another round. A use is a number on the item, and no
queue changes.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from kvwrap.core.primitives import Collection
from kvwrap.stores.shared.s3fifo import ATTEMPTS, is_small_next, remember, take

_STEPS = 8
"""Items of a queue that each change moves while removed ones are dropped."""

_TOLERATED = 64
"""Removed items that a queue may always have."""

_NOWHERE, _SMALL, _MAIN = 0, 1, 2


class Evictable(Protocol):
    """An entry as the policy sees it: a name, and two numbers which the policy keeps on it.

    The entry itself may be anywhere, for example in a file.

    Attributes:
        uses: The store adds one for each use, up to `kvwrap.stores.shared.s3fifo.MOST_USES`.
        place: The queue that has the item; belongs to the policy, 0 at first.
    """

    uses: int
    place: int

    @property
    def collection(self) -> Collection:
        """The collection of the entry."""

    @property
    def key(self) -> str:
        """The key of the entry."""


T = TypeVar("T", bound=Evictable)


class S3FIFO(Generic[T]):
    """The items of a bounded store, and which to evict.

    The store decides when: it asks until its limits hold. What has expired it removes first.

    Args:
        weigh: Returns what an item contributes to the limit: its bytes, or 1. After it changed,
            call `reweigh`.
    """

    def __init__(self, weigh: Callable[[T], int]) -> None:
        self._weigh = weigh
        self._small: Queue[T] = Queue()
        self._main: Queue[T] = Queue()
        self._ghosts: Ghosts | None = None
        self._small_weight = 0
        self._main_weight = 0

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._small) + len(self._main)

    @property
    def ghosts(self) -> int:
        """The number of names that can be remembered, which take four bytes each."""
        return 0 if self._ghosts is None else len(self._ghosts)

    def add(self, item: T) -> None:
        """Add an item that this policy never had, or that it evicted."""
        ghosts = self._ghosts
        if ghosts is not None and ghosts.take(_hash(item)):
            self._to_main(item)
        else:
            item.place = _SMALL
            self._small.append(item)
            self._small_weight += self._weigh(item)

    def discard(self, item: T) -> None:
        """Remove an item that the store removed for another reason; its weight is as it was."""
        self.reweigh(item, -self._weigh(item))
        (self._small if item.place == _SMALL else self._main).discard(item)

    def reweigh(self, item: T, change: int) -> None:
        """Note that the weight of an item has changed by this much."""
        if item.place == _SMALL:
            self._small_weight += change
        else:
            self._main_weight += change

    def evict(self) -> T:
        """Remove the item to evict and return it. There must be one."""
        attempts = ATTEMPTS
        while True:
            attempts -= 1
            is_small = self._is_small_next()
            item = (self._small if is_small else self._main).popleft()
            self.reweigh(item, -self._weigh(item))
            if not item.uses or not attempts:
                item.place = _NOWHERE
                if is_small:
                    if self._ghosts is None:
                        self._ghosts = Ghosts()
                    self._ghosts.add(_hash(item), len(self) + 1)
                return item
            item.uses = 0 if is_small else item.uses - 1
            self._to_main(item)

    def _is_small_next(self) -> bool:
        return is_small_next(self._small_weight, self._main_weight) and len(self._small) > 0

    def _to_main(self, item: T) -> None:
        item.place = _MAIN
        self._main.append(item)
        self._main_weight += self._weigh(item)


class Queue(Generic[T]):
    """A queue from whose middle items can be removed.

    A removed item stays, with `place` 0, until it is dropped. Once more than a quarter are of
    that kind, a pass begins: each change moves some items from the front to the end of a second
    queue, which is read first, and drops the removed ones.
    """

    def __init__(self) -> None:
        self._first: deque[T] = deque()
        self._rest: deque[T] = deque()
        self._removed = 0
        self._is_tidying = False

    def __len__(self) -> int:
        """Return the number of items that were not removed."""
        return len(self._first) + len(self._rest) - self._removed

    @property
    def held(self) -> int:
        """The number of items including the removed ones that are still there."""
        return len(self._first) + len(self._rest)

    def append(self, item: T) -> None:
        """Add an item at the end."""
        self._rest.append(item)
        if self._is_tidying:
            self._tidy()

    def popleft(self) -> T:
        """Remove the first item and return it; there must be one."""
        while True:
            item = (self._first or self._rest).popleft()
            if item.place:
                return item
            self._removed -= 1

    def discard(self, item: T) -> None:
        """Remove an item, wherever it is in this queue."""
        item.place = _NOWHERE
        self._removed += 1
        if self._is_tidying:
            self._tidy()
        else:
            self._is_tidying = self._removed > self.held // 4 + _TOLERATED

    def _tidy(self) -> None:
        rest = self._rest
        for _ in range(min(_STEPS, len(rest))):
            item = rest.popleft()
            if item.place:
                self._first.append(item)
            else:
                self._removed -= 1
        if not rest:
            self._first, self._rest = rest, self._first
            self._is_tidying = False


class Ghosts:
    """Hashes of the names that were evicted lately, in four bytes each, as many as items."""

    def __init__(self) -> None:
        self._hashes = array("I")

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, hashed: int, items: int) -> None:
        """Remember a name.

        Args:
            hashed: Its hash.
            items: Number of items in the store; with twice as many as before, the table grows and
                is empty again.
        """
        if items >= 2 * len(self._hashes):
            self._hashes = array("I", bytes(4 * items))
        remember(self._hashes, hashed)

    def take(self, hashed: int) -> bool:
        """Return True if the name is remembered, and forget it."""
        return take(self._hashes, hashed)


def _hash(item: Evictable) -> int:
    return hash((item.collection, item.key))
