"""The requests of a store to its bucket or container."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from kvwrap.core.optional import need
from kvwrap.errors import StoreUnavailable

T = TypeVar("T")

_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_BUSY: Final = frozenset({429, 503})
_RANGE_REFUSED: Final = 416
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 1.0
"""Seconds before a request is sent again that was refused; each wait is up to twice as long."""
MISSING_BUCKET: Final = frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"})


def driver(module: str = "obstore") -> Any:
    """Import a module of the driver's package."""
    return need(module, extra="object", wanted_by="ObjectStore")


def status_of(error: Exception) -> int | None:
    """Return the status of the answer that an error of the driver tells of, which has no field."""
    match = _STATUS.search(str(error))
    return int(match[1]) if match else None


def code_of(error: Exception) -> str:
    """Return the code of the service in an error of the driver, or an empty text."""
    match = _CODE.search(str(error))
    return match[1] if match else ""


class Found(NamedTuple):
    """An object that was read.

    Attributes:
        content: Its content, or the beginning of it.
        tag: Its entity tag, another one for each other content.
    """

    content: bytes
    tag: str


class Bucket:
    """A bucket or container, over a store of the driver.

    A request that the service refuses since it is asked too much of (503, 429) was not carried
    out, and is sent again after waits that grow.

    Args:
        store: An `S3Store` or `AzureStore` of the driver.
        patience: Seconds after which a refused request is not sent again.
    """

    def __init__(self, store: Any, patience: float) -> None:
        self.store = store
        self._patience = patience
        self._driver = driver()
        known = driver("obstore.exceptions")
        self._refused = (known.AlreadyExistsError, known.PreconditionError)
        self._failed = known.BaseError

    async def get(self, path: str, first: int | None = None) -> Found | None:
        """Read an object. Returns None if it does not exist.

        Args:
            path: Its path.
            first: Number of bytes to read from its beginning; None for all.
        """
        options = None if first is None else {"range": (0, first)}
        try:
            result = await self._send(
                lambda: self._driver.get_async(self.store, path, options=options)
            )
            content = await result.bytes_async()
        except FileNotFoundError as error:
            if code_of(error) in MISSING_BUCKET:
                raise
            return None
        except self._failed as error:
            if status_of(error) != _RANGE_REFUSED:
                raise
            return await self.get(path)  # it is empty
        tag = result.meta["e_tag"]
        if tag is None:
            raise StoreUnavailable(
                "the service gives objects no entity tags, without which an object that another "
                "writer replaced cannot be told"
            )
        return Found(content.to_bytes(), tag)

    async def put(self, path: str, content: bytes) -> str | None:
        """Write an object. Returns its entity tag."""
        result = await self._send(lambda: self._driver.put_async(self.store, path, content))
        tag: str | None = result["e_tag"]
        return tag

    async def put_if(self, path: str, content: bytes, tag: str | None) -> bool:
        """Write an object if there is no other, or if it has a tag.

        Args:
            path: Its path.
            content: The content.
            tag: The tag that it must have; None for no object.

        Returns:
            False if it was not written, since another writer was first.
        """
        mode: Any = "create" if tag is None else {"e_tag": tag}
        try:
            await self._send(lambda: self._driver.put_async(self.store, path, content, mode=mode))
        except self._refused:
            return False
        return True

    async def delete(self, paths: Sequence[str]) -> None:
        """Delete objects, as many in a request as the service takes. Some may be gone already."""
        if not paths:
            return
        try:
            await self._send(lambda: self._driver.delete_async(self.store, list(paths)))
        except FileNotFoundError as error:
            if code_of(error) in MISSING_BUCKET:
                raise
            if len(paths) > 1:  # Azure ends at the first that is gone
                for path in paths:
                    await self.delete([path])

    def objects(self, folder: str, after: str, size: int) -> AsyncIterator[Sequence[Any]]:
        """Iterate over the objects below a folder, with paths after `after`, `size` at a time."""
        stream: AsyncIterator[Sequence[Any]] = self._driver.list(
            self.store, folder, offset=_position(after) or None, chunk_size=size
        )
        return stream

    async def folders(self, folder: str) -> list[str]:
        """Return the paths of the folders in a folder."""
        found = await self._send(lambda: self._driver.list_with_delimiter_async(self.store, folder))
        return list(found["common_prefixes"])

    async def _send(self, request: Callable[[], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        deadline, longest = loop.time() + self._patience, _FIRST_WAIT
        while True:
            try:
                return await request()
            except self._failed as error:
                if status_of(error) not in _BUSY or loop.time() + longest > deadline:
                    raise
            await asyncio.sleep(random.uniform(longest / 2, longest))
            longest = min(2 * longest, _LONGEST_WAIT)


def _position(path: str) -> str:
    """Return the beginning of a path, without parts that no object's path has.

    The driver takes no others as a position. What lies before the path is listed as well then.
    """
    parts = path.split("/")
    for number, part in enumerate(parts):
        is_empty = not part and number < len(parts) - 1
        if is_empty or part in (".", "..") or not part.isprintable():
            return "/".join([*parts[:number], ""]) if number else ""
    return path
