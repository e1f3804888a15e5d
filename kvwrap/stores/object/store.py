"""Entries as objects of S3 or of Azure's blob storage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Self

from kvwrap.core.capability import Capability
from kvwrap.core.clock import Clock
from kvwrap.core.concurrency import gather
from kvwrap.core.entry import Entry, live, with_lasting_versions
from kvwrap.core.optimistic import ATTEMPTS, backoff, conflict
from kvwrap.core.primitives import ABSENT, Collection, Expected, KeyRange, Page
from kvwrap.core.randomness import new_version
from kvwrap.core.serializer import JSON, BytesSerializer, Serializer
from kvwrap.core.validation import checked_count, checked_flag
from kvwrap.errors import KvwrapError, UnsupportedOperation
from kvwrap.stores.object.bucket import Bucket, Found
from kvwrap.stores.object.connections import ObjectStorage
from kvwrap.stores.object.deletions import Deletions
from kvwrap.stores.object.listing import REQUESTS, Head, Listing
from kvwrap.stores.object.objects import HEAD_BYTES, Objects
from kvwrap.stores.object.options import checked_options
from kvwrap.stores.object.raw import RawObjects
from kvwrap.stores.shared import urls
from kvwrap.stores.shared.client import Client, ClientStore
from kvwrap.stores.shared.flat_names import check_default_collection

if TYPE_CHECKING:
    from obstore.store import AzureStore, S3Store

_OPTIONS: Final = {
    "endpoint": urls.TEXT,
    "region": urls.TEXT,
    "raw": urls.FLAG,
    "tls": urls.FLAG,
    "ca": urls.TEXT,
    "timeout": urls.NUMBER_OR_NONE,
    "max_concurrency": urls.INTEGER,
    "default_collection": urls.TEXT,
}
_DELETED_AT_ONCE: Final = 250
"""Keys in a call that deletes. S3 takes 1,000 in a request and Azure 256, and both answer when all
are deleted."""
_LONG_OVER: Final = 0.001
"""Unix time of the end of an entry that was deleted on a condition."""


class ObjectStore(ClientStore):
    """Keeps entries as objects of S3, or of what has its interface, or of Azure's blob storage.

    An entry is the object `prefix/collection/key.kv`. Conditional writes compare the entity tag of
    the object, which the service does atomically. Each key of a batch is a request, up to 100 at
    a time; deletions without a condition go out together.

    A conditional deletion writes an entry that has expired already, since services other than
    AWS and Azure delete without a condition. Expired entries are never read. They are freed by
    `cull`, with a conditional request, so that nothing written meanwhile is lost.

    Credentials are in the URL, or in the environment as for the driver: `AWS_ACCESS_KEY_ID` and
    its kin, `AZURE_STORAGE_ACCOUNT_NAME` and its kin, or the role of the machine. For one event
    loop at a time. It cannot be used in a process that was forked after the driver's first use.

    Args:
        url: `s3://bucket/prefix` or `az://container/prefix`, with `key:secret@` or
            `account:key@` in front of the bucket if they are not in the environment. Options:
            `endpoint`, `region`, `raw`, `tls`, `ca`, `timeout`, `max_concurrency`,
            `default_collection`.
        client: An `S3Store` or `AzureStore` of obstore to use, instead of a URL, with
            `retry_config={"max_retries": 0}`.
        prefix: What all objects have in front, if the URL has none: letters, digits, `_`, `-`,
            `=`, `.` and `/`, up to 256.
        endpoint: URL of the service, if it is not AWS's or Azure's.
        region: Region of S3.
        raw: True if the objects are other programs'. The key of an object is then its path below
            the prefix, and its content is the value.
        tls: True or False; it must say what the endpoint does by https:// or http://. Without an
            endpoint, the services have TLS.
        ca: File with the certificates that the service's is checked against.
        timeout: Seconds for one call, or for 100 keys of a batch; None for no limit.
        max_concurrency: Maximum number of calls in progress; further calls wait.
        default_collection: Name of the collection of calls that name none; see `Store`.
        clock: Source of the time.
        serializer: Converts values to bytes, unless a layer does: JSON, or with `raw` bytes
            unchanged.

    Raises:
        StoreTimeout: From any method, if it took more than `timeout` seconds. Writes in progress
            may or may not have been carried out, or be carried out later.
        StoreUnavailable: If the service cannot be reached, refuses the login, is asked too much
            of, or has no such bucket.
        AccessDenied: If the account may not use the bucket.
        StoreFull: If the service has no space left.
    """

    capabilities = frozenset(
        {
            Capability.KEYS,
            Capability.COLLECTIONS,
            Capability.COMPARE_AND_PUT,
            Capability.DESTROY,
            Capability.DESTROY_COLLECTION,
            Capability.CULL,
            Capability.PERSISTENT,
            Capability.SHARED,
        }
    )

    def __init__(
        self,
        url: str | None = None,
        *,
        client: S3Store | AzureStore | None = None,
        prefix: str | None = None,
        endpoint: str | None = None,
        region: str | None = None,
        raw: bool = False,
        tls: bool | None = None,
        ca: str | None = None,
        timeout: float | None = 5.0,
        max_concurrency: int = 256,
        default_collection: str | None = None,
        clock: Clock | None = None,
        serializer: Serializer | None = None,
    ) -> None:
        self._raw = checked_flag(raw, "raw")
        check_default_collection(default_collection, raw=raw)
        if serializer is None:
            serializer = BytesSerializer() if raw else JSON
        super().__init__(clock=clock, serializer=serializer, default_collection=default_collection)
        options = checked_options(
            url,
            client,
            prefix,
            endpoint=endpoint,
            region=region,
            tls=tls,
            ca=ca,
            timeout=timeout,
        )
        server = ObjectStorage(options)
        objects = Objects(options.prefix, self.name)
        if raw:
            objects = RawObjects(options.prefix, self.name, self.clock)
            self.capabilities -= {Capability.COLLECTIONS, Capability.DESTROY}
            self.traits = self.traits | {"raw"}  # type: ignore[misc]  # of this instance
        self._ca = ca
        self._location = f"prefix {options.prefix!r} of {server.server}"
        self._objects = objects
        self._client: Client[Bucket] = Client(
            server,
            is_own=True,  # also a user's one: it belongs to no event loop, and need not be closed
            timeout=timeout,
            limit=checked_count(max_concurrency, "max_concurrency"),
            store=self.name,
            ensure_open=self.ready,
        )
        self._listing = Listing(self._client, objects, self.clock)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Create the store of a URL as the constructor accepts it, with options.

        Raises:
            ConfigurationError: The URL is not one of S3 or Azure, or an option is invalid.
        """
        bucket, _, query = url.partition("?")
        urls.check_fragment(url)
        return cls(bucket, **urls.parse_options(query, _OPTIONS))

    @property
    def location(self) -> str:
        return self._location

    # -- reading -------------------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        paths = self._paths(collection, keys)

        async def get(bucket: Bucket, index: int) -> Found | None:
            return await bucket.get(paths[index])

        found = await self._client.run_each(collection, keys, get, at_once=REQUESTS)
        now = self.clock.time()
        return [
            None if each is None else live(self._objects.entry(collection, key, each.content), now)
            for key, each in zip(keys, found, strict=True)
        ]

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        folder = self._objects.folder(collection)
        begin = self._objects.paths_begin(folder, key_range.prefix)
        listed, after = await self._listing.page(folder, begin, cursor)
        names = await self._listing.names(listed)
        keys = [self._objects.key_of(collection, each) for each in names]
        return Page([key for key in keys if key and key in key_range], after)

    async def list_collections(self) -> list[Collection]:
        if self._raw:
            raise self._unsupported("enumerate collections: with raw=True, every folder is one")
        folders = await self._client.run(lambda bucket: bucket.folders(self._objects.root))
        found: list[Collection] = []
        for start in range(0, len(folders), REQUESTS):
            part = folders[start : start + REQUESTS]
            names = await gather([self._listing.any_name(folder) for folder in part])
            found += [each[0] for each in names if each is not None]
        return sorted(found, key=lambda name: name or "")

    # -- writing -------------------------------------------------------------------------

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        paths = self._paths(collection, keys)
        # A condition compares the version in the header with the entry's own.
        entries = with_lasting_versions(entries)
        contents = [
            self._objects.pack(collection, key, entry)
            for key, entry in zip(keys, entries, strict=True)
        ]

        async def put(bucket: Bucket, index: int) -> bool:
            path, content = paths[index], contents[index]
            condition = None if expected is None else expected[index]
            if condition is None:
                await bucket.put(path, content)
                return True
            if condition is ABSENT and await bucket.put_if(path, content, None):
                return True
            for attempt in ATTEMPTS:
                await backoff(attempt)
                found = await self._head(bucket, path)
                if found is None:
                    if condition is not ABSENT:
                        return False
                elif not self._objects.head(path, found.content).allows(
                    condition, entries[index].version, self.clock.time() * 1000
                ):
                    return False
                if await bucket.put_if(path, content, None if found is None else found.tag):
                    return True
            raise conflict(self.name, collection, keys[index])

        return await self._client.run_each(collection, keys, put, at_once=REQUESTS)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if expected is None:
            return await self._remove_all(collection, keys)
        if self._raw:
            return await self._remove_raw(collection, keys, expected)
        paths = self._paths(collection, keys)

        async def end(bucket: Bucket, index: int) -> bool:
            condition, key = expected[index], keys[index]
            for attempt in ATTEMPTS:
                await backoff(attempt)
                found = await self._head(bucket, paths[index])
                if found is None or condition is ABSENT:
                    return False
                head = self._objects.head(paths[index], found.content)
                is_live = head.is_live(self.clock.time() * 1000)
                if not is_live or condition not in (None, head.version):
                    return False
                over = Entry(b"", b"", self.clock.time(), _LONG_OVER, new_version())
                content = self._objects.pack(collection, key, over)
                if await bucket.put_if(paths[index], content, found.tag):
                    return True
            raise conflict(self.name, collection, key)

        return await self._client.run_each(collection, keys, end, at_once=REQUESTS)

    async def _remove_raw(
        self, collection: Collection, keys: Sequence[str], expected: Sequence[Expected]
    ) -> list[bool]:
        """Delete objects on a condition: other programs would read an expired entry as a value."""
        paths = self._paths(collection, keys)
        async with Deletions(self._ca) as deletions:
            await self._client.run(lambda bucket: deletions.check(bucket, self._objects))

            async def delete(bucket: Bucket, index: int) -> bool:
                condition = expected[index]
                for attempt in ATTEMPTS:
                    await backoff(attempt)
                    found = await self._head(bucket, paths[index])
                    if found is None or condition is ABSENT:
                        return False
                    head = self._objects.head(paths[index], found.content)
                    is_live = head.is_live(self.clock.time() * 1000)
                    if not is_live or condition not in (None, head.version):
                        return False
                    if await deletions.delete(bucket, paths[index], found.tag):
                        return True
                raise conflict(self.name, collection, keys[index])

            return await self._client.run_each(collection, keys, delete, at_once=REQUESTS)

    async def _remove_all(self, collection: Collection, keys: Sequence[str]) -> list[bool]:
        """Delete keys without a condition, those that have an unexpired entry."""
        names = list(dict.fromkeys(keys))
        paths = self._paths(collection, names)

        async def head(bucket: Bucket, index: int) -> bool:
            found = await self._head(bucket, paths[index])
            if found is None:
                return False
            now = self.clock.time() * 1000
            return self._objects.head(paths[index], found.content).is_live(now)

        try:
            alive = await self._client.run_each(collection, names, head, at_once=REQUESTS)
        except KvwrapError as error:
            error.succeeded = () if len(names) > 1 else None  # nothing is deleted yet
            raise
        living = [name for name, is_live in zip(names, alive) if is_live]
        await self._delete(collection, living)
        left, deleted = set(living), []
        for key in keys:
            deleted.append(key in left)
            left.discard(key)
        return deleted

    async def _delete(self, collection: Collection, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            paths = self._paths(collection, keys[start : start + _DELETED_AT_ONCE])
            try:
                await self._client.run(
                    lambda bucket, own=paths: bucket.delete(own),  # type: ignore[misc]
                    collection=collection,
                )
            except KvwrapError as error:
                error.key = keys[start] if len(keys) == 1 else None
                error.succeeded = tuple(keys[:start])
                raise

    async def drop(self, collection: Collection) -> bool:
        if self._raw and collection is None:
            raise self._unsupported("destroy the default collection: with raw=True it has all")
        folder = self._objects.folder(collection)
        had_entries = await self._listing.any_name(folder) is not None
        await self._drop(folder)
        return had_entries

    async def drop_all(self) -> bool:
        if self._raw:
            raise self._unsupported("destroy what other programs have written (raw=True)")
        had_entries = len(await self.list_collections()) > 0
        await self._drop(self._objects.root)
        return had_entries

    async def _drop(self, folder: str) -> None:
        async for page in self._listing.pages(folder):
            paths = [each.path for each in page]
            await self._client.run(lambda bucket, own=paths: bucket.delete(own))  # type: ignore[misc]

    async def sweep(self) -> None:
        is_checked = False
        async with Deletions(self._ca) as deletions:
            async for page in self._listing.pages(self._objects.root):
                heads = await self._listing.heads([each for each in page if each.may_expire])
                over = [each for each in heads if not each.is_live]
                if over and not is_checked:
                    await self._client.run(lambda bucket: deletions.check(bucket, self._objects))
                    is_checked = True

                async def free(bucket: Bucket, index: int, own: Sequence[Head] = over) -> bool:
                    head = own[index]
                    return head.found is None or await deletions.delete(
                        bucket, head.listed.path, head.found.tag
                    )

                paths = [each.listed.path for each in over]
                await self._client.run_each(None, paths, free, at_once=REQUESTS)

    async def ping(self) -> None:
        path = self._objects.probe("ping")
        await self._client.run(lambda bucket: bucket.get(path, HEAD_BYTES))

    def _unsupported(self, what: str) -> UnsupportedOperation:
        return UnsupportedOperation(f"ObjectStore cannot {what}", store=self.name)

    # -- objects -------------------------------------------------------------------------

    def _paths(self, collection: Collection, keys: Sequence[str]) -> list[str]:
        folder = self._objects.folder(collection)
        return [self._objects.path(folder, key) for key in keys]

    async def _head(self, bucket: Bucket, path: str) -> Found | None:
        """Read what `Objects.head` needs of an object."""
        return await bucket.get(path, None if self._objects.is_hashed(path) else HEAD_BYTES)
