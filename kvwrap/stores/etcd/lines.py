"""A connection to one server of etcd."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from kvwrap.core.deadlines import time_limit
from kvwrap.stores.etcd.protocol import CALLS, driver, messages
from kvwrap.stores.etcd.requests import Fields
from kvwrap.stores.shared.transports import end_transport, read_in_parts

_CONNECT_TIMEOUT: Final = 2.0
"""Seconds until another server is tried, if one does not take a connection."""


class NotSent(Exception):
    """No connection was made, so the request was not sent. Its cause tells why."""


class Line:
    """A channel of the driver, whose calls share one connection.

    Args:
        channel: A `grpclib.client.Channel`.
        is_own: False for a channel of the user's, which is never closed.
    """

    def __init__(self, channel: Any, *, is_own: bool) -> None:
        self._channel = channel
        self._is_own = is_own
        self._in_progress = 0
        self._is_retired = False
        method, known = driver("grpclib.client").UnaryUnaryMethod, messages()
        self._requests = {name: getattr(known, request) for name, (_, request, _) in CALLS.items()}
        self._methods = {
            name: method(
                channel,
                f"/etcdserverpb.{service}/{name}",
                getattr(known, request),
                getattr(known, response),
            )
            for name, (service, request, response) in CALLS.items()
        }

    @property
    def is_idle(self) -> bool:
        """True while no call is in progress."""
        return self._in_progress == 0

    async def call(self, name: str, fields: Fields, metadata: Mapping[str, str]) -> Any:
        """Call a method of etcd. Returns its response.

        Args:
            name: Name of the method.
            fields: The fields of its request.
            metadata: The headers.

        Raises:
            NotSent: There is no connection.
        """
        self._in_progress += 1
        task = asyncio.current_task()
        cancelling = task.cancelling() if task else 0
        try:
            transport = self._transport
            if transport is None or transport.is_closing():
                await self._connect()
            request = self._requests[name](**fields)
            return await self._methods[name](request, metadata=metadata)
        except driver("grpclib.exceptions").StreamTerminatedError:
            # The driver has ended the call by cancelling the task, which it does not take back.
            if task and task.cancelling() > cancelling:
                task.uncancel()
            raise
        finally:
            self._in_progress -= 1
            if self._is_retired:
                self.retire()

    async def open_watch(self, metadata: Mapping[str, str]) -> Any:
        """Open the stream over which etcd tells changes. It ends with the connection.

        Raises:
            NotSent: There is no connection.
        """
        await self._connect()
        known = messages()
        method = driver("grpclib.client").StreamStreamMethod(
            self._channel,
            "/etcdserverpb.Watch/Watch",
            known.WatchRequest,
            known.WatchResponse,
        )
        stream = method.open(metadata=metadata)
        await stream.__aenter__()  # left with the connection, not with a block
        return stream

    async def _connect(self) -> None:
        try:
            with time_limit(_CONNECT_TIMEOUT):
                await self._channel.__connect__()
                if self._is_own:
                    read_in_parts(self._transport)
        except (OSError, UnicodeError) as error:  # also of TLS, and of time
            raise NotSent from error

    def retire(self) -> None:
        """Close the connection after the calls in progress, since others take another one."""
        self._is_retired = True
        if self.is_idle:
            self.close()

    def close(self) -> None:
        """Close the connection now. Calls in progress fail."""
        if not self._is_own:
            return
        transport = self._transport
        self._channel.close()
        if transport is not None:
            transport.abort()  # without a wait for a server that does not read

    def abandon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close the connection of an event loop that no longer runs."""
        transport = self._transport
        if self._is_own and transport is not None:
            end_transport(transport, loop)
            with suppress(AttributeError):
                del self._channel._protocol

    @property
    def _transport(self) -> Any:
        # The driver has no public name for it.
        protocol = self._channel._protocol
        return None if protocol is None else getattr(protocol.connection, "_transport", None)
