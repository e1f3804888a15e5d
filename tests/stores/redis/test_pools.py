"""The connections of clients of the user's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import redis.exceptions

from kvwrap.stores.redis.pools import ClientPool, ClusterNodePool
from kvwrap.stores.shared.urls import Address


async def test_a_connection_leads_elsewhere_if_sentinels_name_another_master() -> None:
    class SentinelsPool:
        async def get_master_address(self) -> tuple[str, int]:
            return "master", 6379

    pool = ClientPool(SentinelsPool())
    assert not await pool.leads_elsewhere(SimpleNamespace(host="master", port=6379))
    for host, port in (("master", 6380), ("other", 6379)):
        assert await pool.leads_elsewhere(SimpleNamespace(host=host, port=port))
    assert not await ClientPool(object()).leads_elsewhere(SimpleNamespace(host="any", port=1))


@pytest.mark.parametrize("asked", [1, 2, 3])
async def test_a_node_that_a_client_has_not_heard_of_is_asked_for_once(asked: int) -> None:
    class Client:
        def __init__(self) -> None:
            self.asked = self.refreshed = 0
            self.nodes_manager = SimpleNamespace(initialize=self.refresh)

        async def initialize(self) -> None:
            pass

        async def refresh(self) -> None:
            self.refreshed += 1

        def get_node(self, host: str, port: int) -> Any:
            assert (host, port) == ("h", 1)
            self.asked += 1
            options = {"host": host, "port": port}
            known = SimpleNamespace(connection_class=dict, connection_kwargs=options)
            return known if self.asked >= asked else None

    client = Client()
    pool = ClusterNodePool(client, Address("h", 1))
    if asked > 2:
        with pytest.raises(redis.exceptions.ConnectionError, match="does not know the node"):
            await pool.make_connection()
    else:
        assert await pool.make_connection() == {"host": "h", "port": 1}
    assert client.refreshed == (asked > 1)
