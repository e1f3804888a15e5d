"""Opening and closing, with a count of users: the last `close` tears down."""

from __future__ import annotations

import asyncio
from enum import Enum
from types import TracebackType
from typing import Self

from kvwrap.core.concurrency import KeyedLocks
from kvwrap.errors import Deadlock, StoreUnavailable


class _State(Enum):
    NEW = "new"
    OPEN = "open"
    CLOSED = "closed"


# A global name is found three times faster than an attribute of an enum's class.
_OPEN = _State.OPEN


class Lifecycle:
    """A part that may need setup before its first use and teardown after its last.

    Subclasses implement `setup` and `teardown`, and await `ready()` before they use what
    `setup` created. So a part also works without `async with`.
    """

    _state = _State.NEW
    _users = 0
    _opening: KeyedLocks | None = None
    _opener: asyncio.Task[object] | None = None

    @property
    def is_open(self) -> bool:
        """True from the end of `setup` until `teardown`."""
        return self._state is _OPEN

    @property
    def is_closed(self) -> bool:
        """True if the part has been closed and not opened again."""
        return self._state is _State.CLOSED

    @property
    def users(self) -> int:
        """Number of `open` calls without a matching `close`."""
        return self._users

    async def setup(self) -> None:
        """Create what this part needs; called once, before the first use."""

    async def teardown(self) -> None:
        """Release what `setup` created; called once, and only after `setup`."""

    async def ready(self) -> None:
        """Set up at the first use. If that fails, all that wait for it get the error.

        Raises:
            StoreUnavailable: The part has been closed.
            Deadlock: `setup` uses the part itself.
        """
        if self._state is _State.OPEN:
            return
        if self._state is _State.CLOSED:
            raise self._closed()
        task = asyncio.current_task()
        if self._opening is None:
            self._opening = KeyedLocks()
        elif self._opening and self._opener is task:
            raise Deadlock(
                f"`setup` must not use the part that it sets up; that of {type(self).__name__} "
                "does: use what is under it"
            )
        # A task that `setup` begins may use the part and wait, so it is not taken for `setup`.
        async with self._opening.hold("setup", shares_errors=True, tells_deadlocks=False):
            # While this task waited, another one may have set the part up or closed it.
            match self._state:
                case _State.NEW:
                    self._opener = task
                    await self.setup()
                    if self.is_closed:  # during setup
                        await self.teardown()
                        raise self._closed()
                    self._state = _State.OPEN
                case _State.CLOSED:
                    raise self._closed()
                case _State.OPEN:
                    pass

    async def open(self) -> None:
        """Set up now. The part stays open until `close` has been called as often as `open`."""
        if self._state is _State.CLOSED:
            self._state = _State.NEW
        self._users += 1
        try:
            await self.ready()
        except BaseException:
            self._users -= 1
            raise

    async def close(self) -> None:
        """Undo one `open`; the last `close` releases everything. Closing twice does nothing."""
        self._users = max(0, self._users - 1)
        if self._users:
            return
        previous, self._state = self._state, _State.CLOSED
        self._opening = None
        if previous is _State.OPEN:
            await self.teardown()

    def _closed(self) -> StoreUnavailable:
        name = type(self).__name__
        return StoreUnavailable(
            f"{name} is closed: open it again with `async with` (in a blocking view `with`) or "
            "`open()`"
        )

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
