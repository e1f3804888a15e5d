"""The connections of a store, as the server sees them."""

from __future__ import annotations

from typing import Any


async def connections(client: Any, name: str, *, flag: str = "") -> list[dict[str, str]]:
    """List the connections with this client name, and with this flag if there is one.

    Args:
        client: A client of the server.
        name: The option `client_name` of the store's URL.
        flag: A flag of CLIENT LIST, such as "b" for a connection whose command is blocked.
    """
    return [
        connection
        for connection in await client.client_list()
        if connection["name"] == name and flag in connection["flags"]
    ]
