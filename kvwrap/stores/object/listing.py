"""The objects of a store, page by page, and which of them have not expired."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from kvwrap.core.clock import Clock
from kvwrap.core.paging import PAGE_SIZE
from kvwrap.core.primitives import Collection
from kvwrap.errors import CorruptEntry
from kvwrap.stores.object.bucket import Bucket, Found
from kvwrap.stores.object.objects import HEAD_BYTES, Listed, Objects
from kvwrap.stores.shared.client import Client

REQUESTS: Final = 100
"""Maximum number of requests that a batch has in progress."""
_READ_FOR_ONE: Final = 20
"""Number of objects whose heads are read at once to find one that has not expired."""


class Head(NamedTuple):
    """An object that was listed, with the beginning of its content.

    Attributes:
        listed: The object.
        found: What was read; None if that was not needed, as it never expires.
        is_live: True if it has not expired.
    """

    listed: Listed
    found: Found | None
    is_live: bool


class Cursor:
    """A position in a listing. Its page can be requested again, which begins another listing.

    Attributes:
        last: The path of the last object before it.
    """

    def __init__(self, last: str, stream: AsyncIterator[Sequence[Any]] | None = None) -> None:
        self.last = last
        self._stream = stream

    def take_stream(self) -> AsyncIterator[Sequence[Any]] | None:
        """Return the listing that goes on here, the first time; then None."""
        stream, self._stream = self._stream, None
        return stream


class Listing:
    """The objects of a store.

    Args:
        client: The client.
        objects: The paths and contents.
        clock: Source of the time.
    """

    def __init__(self, client: Client[Bucket], objects: Objects, clock: Clock) -> None:
        self._client = client
        self._objects = objects
        self._clock = clock

    async def page(
        self, folder: str, begin: str, cursor: object
    ) -> tuple[list[Listed], Cursor | None]:
        """Return some objects below a folder, and the cursor of the next ones.

        Args:
            folder: The folder.
            begin: What their paths begin with; all others of the folder are passed by.
            cursor: The cursor of the page, None for the first.
        """
        position = cursor if isinstance(cursor, Cursor) else Cursor(self._objects.before(begin))
        stream = position.take_stream()

        async def read(bucket: Bucket) -> tuple[AsyncIterator[Sequence[Any]], Sequence[Any]]:
            source = stream or bucket.objects(folder, position.last, PAGE_SIZE)
            async for found in source:
                # Azurite begins at the beginning, whatever was asked for.
                if found[-1]["path"] > position.last:
                    return source, found
            return source, ()

        source, found = await self._client.run(read)
        if not found:
            return [], None
        paths = [(each["path"], each["size"]) for each in found if each["path"] > position.last]
        listed = [
            self._objects.listed(path, size) for path, size in paths if path.startswith(begin)
        ]
        last = found[-1]["path"]
        is_over = last > begin and not last.startswith(begin)
        return [each for each in listed if each], None if is_over else Cursor(last, source)

    async def pages(self, folder: str) -> AsyncIterator[list[Listed]]:
        """Iterate over the pages of all objects below a folder."""
        cursor: Cursor | None = None
        while True:
            listed, cursor = await self.page(folder, f"{folder}/" if folder else "", cursor)
            yield listed
            if cursor is None:
                return

    async def heads(self, listed: Sequence[Listed]) -> list[Head]:
        """Return those of some objects that still exist, and read the heads that are needed."""
        unsure = [each for each in listed if each.may_expire or each.is_hashed]

        async def read(bucket: Bucket, index: int) -> Found | None:
            each = unsure[index]
            return await bucket.get(each.path, None if each.is_hashed else HEAD_BYTES)

        paths = [each.path for each in unsure]
        contents = dict(
            zip(paths, await self._client.run_each(None, paths, read, at_once=REQUESTS))
        )
        now = self._clock.time() * 1000
        heads = []
        for each in listed:
            found = contents.get(each.path)
            if found is not None:
                is_live = self._objects.head(each.path, found.content).is_live(now)
                heads.append(Head(each, found, is_live))
            elif each.path not in contents:
                heads.append(Head(each, None, True))
        return heads

    async def names(self, listed: Sequence[Listed]) -> list[tuple[Collection, str]]:
        """Return collection and key of those of some objects that have not expired."""
        names = []
        for head in await self.heads(listed):
            if not head.is_live:
                continue
            found = head.listed.names
            if head.listed.is_hashed and head.found is not None:
                with suppress(CorruptEntry):  # of another program
                    found = self._objects.names(head.listed, head.found.content)
            if found is not None:
                names.append(found)
        return names

    async def any_name(self, folder: str) -> tuple[Collection, str] | None:
        """Return collection and key of one object in a folder that has not expired, if any."""
        async for page in self.pages(folder):
            page.sort(key=lambda each: each.may_expire or each.is_hashed)
            for start in range(0, len(page), _READ_FOR_ONE):
                if names := await self.names(page[start : start + _READ_FOR_ONE]):
                    return names[0]
        return None
