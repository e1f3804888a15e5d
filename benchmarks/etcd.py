"""`EtcdStore`, compared with calls of the driver."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
from grpclib.client import Channel, UnaryUnaryMethod

from benchmarks import round_trips
from benchmarks.table import Row
from kvwrap import EtcdStore
from kvwrap.stores.etcd.protocol import messages
from kvwrap.testing.servers import EtcdServer


async def rows() -> AsyncIterator[Row]:
    """Measure round trips to a server, beside the driver's: a batch of them is a transaction."""
    known = messages()
    with EtcdServer() as server:
        channel = Channel("127.0.0.1", server.port)

        def method(name: str, message: str) -> Any:
            request, response = (getattr(known, message + kind) for kind in ("Request", "Response"))
            return UnaryUnaryMethod(channel, f"/etcdserverpb.KV/{name}", request, response)

        range_, put_, txn = (method(name, name) for name in ("Range", "Put", "Txn"))

        async def get(key: str) -> Any:
            answer = await range_(known.RangeRequest(key=key.encode()))
            return orjson.loads(answer.kvs[0].value)

        async def put(key: str, value: Any) -> None:
            await put_(known.PutRequest(key=key.encode(), value=orjson.dumps(value)))

        async def get_many(keys: list[str]) -> Any:
            requests = [known.RangeRequest(key=key.encode()) for key in keys]
            operations = [known.RequestOp(request_range=request) for request in requests]
            answer = await txn(known.TxnRequest(success=operations))
            return [orjson.loads(each.response_range.kvs[0].value) for each in answer.responses]

        async def put_many(keys: list[str], values: list[Any]) -> None:
            requests = [
                known.PutRequest(key=key.encode(), value=orjson.dumps(value))
                for key, value in zip(keys, values)
            ]
            operations = [known.RequestOp(request_put=request) for request in requests]
            await txn(known.TxnRequest(success=operations))

        bare = round_trips.Bare(get, put, get_many, put_many)
        async with EtcdStore(server.url) as store:
            async for row in round_trips.rows("`EtcdStore`", store, bare):
                yield row
        channel.close()
