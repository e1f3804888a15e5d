"""Connections of an event loop that no longer runs, and would have to run to close them."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any, Final

_READ_SIZE: Final = 2**16


def read_in_parts(transport: Any) -> None:
    """Have a connection of asyncio read at most 64 KiB at a time, instead of 256 KiB.

    asyncio allocates that for every read. The C library maps so large a piece from the system
    and unmaps it again, which takes as long as the rest of a short round trip.
    """
    with suppress(AttributeError):  # of an event loop with transports of its own
        getattr(transport, "_ssl_protocol", transport).max_size = _READ_SIZE


def end_transport(transport: Any, loop: asyncio.AbstractEventLoop) -> None:
    """Close a connection of asyncio whose loop does not run."""
    with suppress(OSError):
        transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
    with suppress(RuntimeError):  # the loop is closed
        transport.abort()
    if loop.is_closed():
        # A transport needs its loop even to abort. It has no public name for what is within.
        protocol = getattr(transport, "_ssl_protocol", None)
        inner = transport if protocol is None else protocol._transport
        end = getattr(inner, "_sock", None)
        if end is not None:
            inner._sock = None
            end.close()


def end_connector(connector: Any, loop: asyncio.AbstractEventLoop) -> None:
    """Close the connections of a connector of aiohttp whose loop does not run."""
    # It has no public names for its connections, and closes them in their loop only.
    pooled = [connection for each in connector._conns.values() for connection, _ in each]
    for connection in (*pooled, *connector._acquired):
        if connection.transport is not None:
            end_transport(connection.transport, loop)
    connector._conns.clear()
    connector._closed = True
