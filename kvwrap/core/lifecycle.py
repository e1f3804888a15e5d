"""Opening and closing, counted: what is opened twice is closed with the second close."""

from __future__ import annotations

import asyncio
from enum import Enum
from types import TracebackType
from typing import Self

from kvwrap.errors import StoreUnavailable


class _State(Enum):
    NEW = "new"
    OPEN = "open"
    CLOSED = "closed"


class Lifecycle:
    """A part that may have to be set up before its first use and torn down after its last.

    Subclasses state what is to be done in `setup` and `teardown`, and await `ready()`
    before they use what `setup` made: a part works without `async with` as well.
    """

    _state = _State.NEW
    _users = 0
    _opening: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    @property
    def is_open(self) -> bool:
        """Whether `setup` has been done, and `teardown` not yet."""
        return self._state is _State.OPEN

    @property
    def is_closed(self) -> bool:
        """Whether it has been closed, and not opened again."""
        return self._state is _State.CLOSED

    @property
    def users(self) -> int:
        """How many have opened it and not closed it yet."""
        return self._users

    async def setup(self) -> None:
        """Make what this part needs; called once before the first use."""

    async def teardown(self) -> None:
        """Let go of what `setup` made; called once, and only after `setup`."""

    async def ready(self) -> None:
        """Set up at the first use.

        Raises:
            StoreUnavailable: The part has been closed.
        """
        if self._state is _State.OPEN:
            return
        if self._state is _State.CLOSED:
            raise StoreUnavailable(f"{type(self).__name__} is closed")
        loop = asyncio.get_running_loop()
        if self._opening is None or self._opening[0] is not loop:
            self._opening = (loop, asyncio.Lock())
        async with self._opening[1]:
            # Another task may have set it up, or closed it, while this one waited.
            match self._state:
                case _State.NEW:
                    await self.setup()
                    if self.is_closed:  # while it was being set up
                        await self.teardown()
                        raise StoreUnavailable(f"{type(self).__name__} is closed")
                    self._state = _State.OPEN
                case _State.CLOSED:
                    raise StoreUnavailable(f"{type(self).__name__} is closed")
                case _State.OPEN:
                    pass

    async def open(self) -> None:
        """Set up now, and stay open until `close` has been called as often as `open`."""
        if self._state is _State.CLOSED:
            self._state = _State.NEW
        self._users += 1
        try:
            await self.ready()
        except BaseException:
            self._users -= 1
            raise

    async def close(self) -> None:
        """Undo one `open`; the last one lets go of everything. Closing twice does nothing."""
        self._users = max(0, self._users - 1)
        if self._users:
            return
        was, self._state = self._state, _State.CLOSED
        self._opening = None
        if was is _State.OPEN:
            await self.teardown()

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
