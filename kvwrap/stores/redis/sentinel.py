"""Connections to the master of a service, which Sentinels name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from kvwrap.errors import StoreUnavailable
from kvwrap.stores.redis.connections import Settings
from kvwrap.stores.redis.errors import driver
from kvwrap.stores.redis.options import RedisOptions
from kvwrap.stores.redis.pools import OwnPool
from kvwrap.stores.shared.urls import Address

_PATIENCE: Final = 1.0
"""Seconds to wait for one Sentinel, before the next one is asked."""


class SentinelPool(OwnPool):
    """Connections to the master of a service, whose address is asked for by each new connection.

    When a connection finds another master, those to the earlier one are closed.

    Args:
        options: The Sentinels, their login, and the service.
        settings: How to connect to the master.
    """

    def __init__(self, options: RedisOptions, settings: Settings) -> None:
        super().__init__(settings.make)
        self._service = options.sentinel[0]
        self._product = options.product
        login = {"username": options.sentinel_username, "password": options.sentinel_password}
        limits = {"socket_timeout": _PATIENCE, "socket_connect_timeout": _PATIENCE}
        self._settings = Settings(settings.cls, {**settings.arguments, **login, **limits, "db": 0})
        self._sentinels = list(options.parts.addresses)
        known = driver("redis.exceptions")
        self._driver_error, self._read_only = known.RedisError, known.ReadOnlyError
        self.place: Address | None = None

    async def connect(self, connection: Any) -> None:
        address = await self._master()
        if address != self.place:
            self.place = address
            for other in list(self._free):
                await other.disconnect(nowait=True)
        connection.host, connection.port = address
        await connection.connect()
        # Sentinels may not know yet that it has become a replica.
        answers: list[Any] = []
        await self.exchange(connection, [("ROLE",)], answers)
        if isinstance(answers[0], list) and answers[0][:1] != [b"master"]:
            await connection.disconnect(nowait=True)
            raise self._read_only("You can't write against a read only replica.")

    async def release(self, connection: Any) -> None:
        await super().release(connection)
        if (connection.host, connection.port) != self.place:
            await connection.disconnect(nowait=True)

    async def leads_elsewhere(self, connection: Any) -> bool:
        return await self._master() != (connection.host, connection.port)

    async def _master(self) -> Address:
        """Return the address that the first Sentinel that answers has for the service.

        Raises:
            StoreUnavailable: The Sentinels do not know the service.
            redis.exceptions.RedisError: No Sentinel answers.
        """
        problem: Exception | None = None
        for sentinel in list(self._sentinels):
            try:
                answer = await self._ask(sentinel)
            except (self._driver_error, OSError) as error:
                problem = error
            else:
                if _is_address(answer):
                    # It is asked first the next time.
                    self._sentinels.sort(key=lambda address: address != sentinel)
                    return Address(answer[0].decode(), int(answer[1]))
                problem = problem or StoreUnavailable(
                    f"the Sentinels of {self._product} do not know the service {self._service!r}: "
                    "check its name in the URL, and `SENTINEL MASTERS`"
                )
        assert problem is not None
        raise problem

    async def _ask(self, sentinel: Address) -> Any:
        """Ask a Sentinel for the master over a connection that lasts for this question."""
        connection = self._settings.make(host=sentinel.host, port=sentinel.port)
        try:
            await connection.connect()
            await connection.send_command("SENTINEL GET-MASTER-ADDR-BY-NAME", self._service)
            return await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)


def _is_address(answer: object) -> bool:
    return (
        isinstance(answer, Sequence)
        and len(answer) == 2
        and all(isinstance(part, bytes) for part in answer)
        and answer[1].isdigit()
    )
