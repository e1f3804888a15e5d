"""Deleting objects on a condition, which the driver cannot.

The driver signs the address of the request. A header that is not signed may be sent with it, and
`If-Match` makes the deletion conditional, where the service knows it.
"""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self

from kvwrap.core.optional import need
from kvwrap.errors import AccessDenied, StoreUnavailable, UnsupportedOperation
from kvwrap.stores.object.bucket import Bucket, driver
from kvwrap.stores.object.objects import Objects
from kvwrap.stores.shared.tls import Tls

_VALID: Final = timedelta(minutes=5)
_OTHER_TAG: Final = '"kvwrap"'
_DENIED: Final = 403
_CHANGED: Final = frozenset({404, 409, 412})
_CONDITION_FAILED: Final = 412


def http(module: str = "aiohttp") -> Any:
    """Import a module of the client for such requests."""
    return need(module, extra="object", wanted_by="ObjectStore")


class Deletions:
    """Conditional deletions of objects.

    An asynchronous context manager.

    Args:
        ca: File with the certificates that the server's is checked against, or None.
    """

    def __init__(self, ca: str | None) -> None:
        self._ca = ca
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        client = http()
        connector = client.TCPConnector(ssl=Tls(ca=self._ca).context())
        self._session = await self._resources.enter_async_context(
            client.ClientSession(connector=connector, trust_env=True)
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._resources.aclose()

    async def check(self, bucket: Bucket, objects: Objects) -> None:
        """Try with an object of its own whether the service heeds the condition.

        Raises:
            UnsupportedOperation: It does not.
        """
        path = objects.probe(uuid.uuid4().hex)
        tag = await bucket.put(path, b"")
        try:
            refused = await self._status(bucket, path, _OTHER_TAG) == _CONDITION_FAILED
            if not refused or tag is None or not await self.delete(bucket, path, tag):
                raise UnsupportedOperation(
                    "ObjectStore cannot free expired entries in this service, which does not "
                    "heed If-Match in a deletion: one could delete what was written meanwhile. "
                    "Delete old objects by a rule of the bucket, if all entries expire"
                )
        finally:
            await bucket.delete([path])

    async def delete(self, bucket: Bucket, path: str, tag: str) -> bool:
        """Delete an object if it has a tag. Returns False if it has another one, or is gone."""
        status = await self._status(bucket, path, tag)
        if status in _CHANGED:
            return False
        if status == _DENIED:
            raise AccessDenied(
                "the service does not permit this account to delete objects: extend its policy"
            )
        if not 200 <= status < 300:
            raise StoreUnavailable(f"the service refused to delete an object (status {status})")
        return True

    async def _status(self, bucket: Bucket, path: str, tag: str) -> int:
        signed = await driver().sign_async(bucket.store, "DELETE", path, _VALID)
        url = http("yarl").URL(signed, encoded=True)
        async with self._session.delete(url, headers={"If-Match": tag}) as answer:
            status: int = answer.status
        return status
