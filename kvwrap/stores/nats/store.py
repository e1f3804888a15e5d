"""Entries in a key-value bucket of NATS JetStream."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from kvwrap.core.capability import Capability
from kvwrap.core.changes import ALL, Listener, Scope, Subscription
from kvwrap.core.clock import Clock
from kvwrap.core.concurrency import gather
from kvwrap.core.entry import Entry, dump_entries, live, with_lasting_versions
from kvwrap.core.paging import PAGE_SIZE, Snapshot, holds_any
from kvwrap.core.primitives import ABSENT, Collection, Expected, KeyRange, Page
from kvwrap.core.serializer import JSON, Serializer
from kvwrap.core.validation import checked_count, checked_name, checked_seconds
from kvwrap.errors import ConfigurationError, CorruptEntry, ValueTooLarge
from kvwrap.stores.nats.bucket import DELETION_SECONDS, Bucket, Message
from kvwrap.stores.nats.connections import NATS, NATSOptions, driver
from kvwrap.stores.nats.subjects import Subjects
from kvwrap.stores.nats.watching import NATSLink
from kvwrap.stores.shared import urls
from kvwrap.stores.shared.client import Client, ClientStore
from kvwrap.stores.shared.feed import Feed
from kvwrap.stores.shared.tls import TLS_OPTIONS, make_tls

if TYPE_CHECKING:
    from nats.aio.client import Client as Connection

_PORT: Final = 4222
_BUCKET: Final = re.compile(r"[A-Za-z0-9_-]+")
_OPTIONS: Final = {
    "replicas": urls.INTEGER,
    "timeout": urls.NUMBER_OR_NONE,
    "max_concurrency": urls.INTEGER,
    "default_collection": urls.TEXT,
    **TLS_OPTIONS,
}
_LONGEST_LIFETIME: Final = 2**31
"""Seconds; the server counts nanoseconds in 64 bits. What lives longer, only `cull` frees."""
_HEADERS: Final = 256
"""Bytes of the headers of a message, which count towards the server's limit."""


class _Held(NamedTuple):
    """What a subject has.

    Attributes:
        revision: The revision of its last message; 0 if it has none.
        entry: The unexpired entry of its key, or None.
        is_freeable: True if it has a message without an unexpired entry.
    """

    revision: int
    entry: Entry | None
    is_freeable: bool


class NATSStore(ClientStore):
    """Keeps entries in a key-value bucket of NATS JetStream (server 2.9 or later).

    The bucket is created if it is missing. Reads are answered by the leader of its stream, so
    they see every write that was acknowledged. A conditional write compares the revision of the
    key, as JetStream does it. The requests of a batch are sent together, over one connection.
    Servers from 2.11 on free expired entries automatically; over older ones, `cull` does.

    Deleting a key leaves a message without a value, as the other clients of such buckets expect.
    Servers from 2.11 on free it after a day, and `cull` does at once. Enumerating asks the server
    for the names and reads the entry of each, since only the entry knows when it expires.

    For one event loop at a time; a forked child gets a connection of its own.

    Args:
        url: `nats://user:password@host:port,host:port/bucket`. Options: `replicas`, `timeout`,
            `max_concurrency`, `tls`, `ca`, `cert`, `key`.
        client: A connected `nats.aio.client.Client` to use, instead of a URL; closing it is up to
            you. It is used in its own event loop only.
        bucket: Name of the bucket, letters, digits, `-` and `_`, if the URL has none.
        replicas: Number of servers that keep the bucket, if it is created.
        timeout: Seconds for one call, including the connection; None for no limit.
        max_concurrency: Maximum number of calls in progress; further calls wait. A batch is one.
        tls: True for TLS; likewise if one of the next three is given.
        ca: File with the certificates that the server's is checked against.
        cert: File with this client's certificate.
        key: File with its private key, if not in `cert`.
        default_collection: Name of the collection of calls that name none; see `Store`.
        clock: Source of the time.
        serializer: Converts values to bytes, unless a layer does.

    Raises:
        StoreTimeout: From any method, if it took more than `timeout` seconds. Writes in progress
            may or may not have been carried out.
        StoreFull: If a limit of JetStream or of the stream is reached.
        StoreUnavailable: If no server can be reached, or the stream has no leader.
        AccessDenied: If the account may not use the bucket.
        ValueTooLarge: For an entry over the server's `max_payload`, 1 MiB unless changed.
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
            Capability.WATCH,
        }
    )

    def __init__(
        self,
        url: str | None = None,
        *,
        client: Connection | None = None,
        bucket: str | None = None,
        replicas: int = 1,
        timeout: float | None = 5.0,
        max_concurrency: int = 256,
        tls: bool | None = None,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
        default_collection: str | None = None,
        clock: Clock | None = None,
        serializer: Serializer = JSON,
    ) -> None:
        super().__init__(clock=clock, serializer=serializer, default_collection=default_collection)
        if (url is None) == (client is None):
            raise ConfigurationError("either `url` or `client` must be given")
        driver()
        if client is not None and not isinstance(client, driver("nats.aio.client").Client):
            raise ConfigurationError(
                "`client` must be a connected nats.aio.client.Client, as nats.connect returns it; "
                f"got {type(client).__name__}"
            )
        parts = urls.split_server_url("nats://" if url is None else url, "nats", port=_PORT)
        if parts.query:
            raise ConfigurationError(
                "the options of a URL are those of store_from_url; pass them to NATSStore as "
                "arguments"
            )
        name = checked_name(bucket if bucket is not None else parts.path or "kvwrap", "bucket")
        if not _BUCKET.fullmatch(name) or (bucket is not None and parts.path not in ("", bucket)):
            raise ConfigurationError(
                "`bucket` must consist of letters, digits, - and _, and be given once; got "
                f"{name!r}"
            )
        if timeout is not None:
            checked_seconds(timeout, "timeout")
        options = NATSOptions(
            addresses=parts.addresses,
            bucket=name,
            replicas=checked_count(replicas, "replicas"),
            timeout=timeout,
            username=parts.username,
            password=parts.password,
            tls=make_tls(tls, ca, cert, key),
        )
        self._bucket = name
        self._subjects = Subjects(name)
        self._server = NATS(options, client)
        self._client: Client[Bucket] = Client(
            self._server,
            timeout=timeout,
            limit=checked_count(max_concurrency, "max_concurrency"),
            store=self.name,
            ensure_open=self.ready,
            is_own=client is None,
        )
        place = (self.location, parts.username, parts.password, tls, ca, cert, key, id(client))
        link = partial(NATSLink, nats=self._server, subjects=self._subjects)
        self._feed = Feed(place, link, self.clock, timeout=timeout, owner=self.name)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Create the store of a URL as the constructor accepts it, with options.

        Raises:
            ConfigurationError: The URL is not one of NATS, or an option is unknown or invalid.
        """
        server, _, query = url.partition("?")
        urls.check_fragment(url)
        return cls(server, **urls.parse_options(query, _OPTIONS))

    @property
    def location(self) -> str:
        return f"bucket {self._bucket!r} of {self._server.server}"

    # -- the primitives ----------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        subjects = self._subjects.of_keys(collection, keys)

        async def get(bucket: Bucket, index: int) -> Entry | None:
            return (await self._get(bucket, subjects[index])).entry

        return await self._client.run_each(collection, keys, get)

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        subjects = self._subjects.of_keys(collection, keys)
        # A condition compares the version in the header with the entry's own.
        entries = with_lasting_versions(entries)
        payloads, names = dump_entries(entries, collection, keys), [b""] * len(keys)
        if any(map(self._subjects.is_hashed, subjects)):
            payloads = [
                self._subjects.frame(subject, collection, key, data)
                for subject, key, data in zip(subjects, keys, payloads, strict=True)
            ]
            names = [self._name(*each, collection) for each in zip(subjects, keys, strict=True)]
        now = self.clock.time()

        async def put(bucket: Bucket, index: int) -> bool:
            subject, entry, payload = subjects[index], entries[index], payloads[index]
            name = names[index]
            self._check_size(bucket, payload, name)
            lifetime = _seconds(entry.expires_at, now)
            condition = None if expected is None else expected[index]
            if condition is None:
                return await bucket.publish(subject, payload, lifetime=lifetime, name=name)
            while True:
                held = await self._get(bucket, subject)
                version = ABSENT if held.entry is None else held.entry.version
                if version != condition:
                    # A call whose answer was lost is repeated: then its entry is stored already.
                    return version == entry.version
                if await bucket.publish(
                    subject, payload, revision=held.revision, lifetime=lifetime, name=name
                ):
                    return True

        return await self._client.run_each(collection, keys, put)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        subjects = self._subjects.of_keys(collection, keys)

        async def delete(bucket: Bucket, index: int) -> bool:
            condition = None if expected is None else expected[index]
            while True:
                held = await self._get(bucket, subjects[index])
                if held.entry is None or condition not in (None, held.entry.version):
                    return False
                if await bucket.publish(
                    subjects[index],
                    b"",
                    revision=held.revision,
                    lifetime=DELETION_SECONDS,
                    is_deletion=True,
                    name=self._name(subjects[index], keys[index], collection),
                ):
                    return True

        return await self._client.run_each(collection, keys, delete)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        if cursor is None:
            pattern = f"{self._subjects.prefix(collection)}>"
            subjects = await self._client.run(lambda bucket: bucket.subjects(pattern))
            cursor = Snapshot(subjects)
        page = Snapshot.page(cursor)
        held = await self._named(page.keys)
        keys = [key for name, key in held if name == collection and key in key_range]
        return Page(keys, page.cursor)

    async def list_collections(self) -> list[Collection]:
        subjects = await self._client.run(lambda bucket: bucket.subjects(self._subjects.all))
        by_token: dict[str, list[str]] = {}
        for subject in subjects:
            by_token.setdefault(self._subjects.token(subject), []).append(subject)
        found: list[Collection] = []
        for own in by_token.values():
            for start in range(0, len(own), PAGE_SIZE):
                if held := await self._named(own[start : start + PAGE_SIZE]):
                    found.append(held[0][0])
                    break
        return sorted(found, key=lambda name: name or "")

    async def drop(self, collection: Collection) -> bool:
        had_entries = await holds_any(self, collection)
        pattern = f"{self._subjects.prefix(collection)}>"
        told_by = self._subjects.dropped(collection)
        await self._client.run(lambda bucket: bucket.drop(pattern, told_by))
        return had_entries

    async def drop_all(self) -> bool:
        had_entries = len(await self.list_collections()) > 0
        told_by = self._subjects.dropped(ALL)
        await self._client.run(lambda bucket: bucket.drop(self._subjects.all, told_by))
        return had_entries

    async def sweep(self) -> None:
        subjects = await self._client.run(lambda bucket: bucket.subjects(self._subjects.all))

        async def free(bucket: Bucket, subject: str) -> None:
            try:
                held = await self._get(bucket, subject)
            except CorruptEntry:  # of another program
                return
            if held.is_freeable:
                # Messages up to this one: an entry that was written meanwhile stays.
                await bucket.purge(subject, held.revision + 1)

        for start in range(0, len(subjects), PAGE_SIZE):
            part = subjects[start : start + PAGE_SIZE]
            await self._client.run(
                lambda bucket, own=part: gather([free(bucket, subject) for subject in own])  # type: ignore[misc]
            )

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
        await self.ready()
        return await self._feed.subscribe(scope, listener)

    async def teardown(self) -> None:
        await self._feed.close()
        await super().teardown()

    async def ping(self) -> None:
        await self._client.run(lambda bucket: bucket.get(self._subjects.prefix(None) + "-"))

    # -- messages ----------------------------------------------------------------------

    async def _get(self, bucket: Bucket, subject: str) -> _Held:
        message = await bucket.get(subject)
        if message is None:
            return _Held(0, None, False)
        found = self._parse(subject, message)
        entry = None if found is None else found[2]
        return _Held(message.revision, entry, entry is None)

    def _parse(self, subject: str, message: Message) -> tuple[Collection, str, Entry] | None:
        """Return collection, key and entry of a message, or None if it has no unexpired entry."""
        if message.data is None:
            return None
        parsed = self._subjects.parse(subject, message.data)
        if parsed is None:
            raise CorruptEntry(
                f"the message of {subject!r} must be an entry of kvwrap; got another form",
                store=self.name,
            )
        collection, key, data = parsed
        entry = live(Entry.from_bytes(data, collection, key, self.name), self.clock.time())
        return None if entry is None else (collection, key, entry)

    async def _named(self, subjects: Sequence[str]) -> list[tuple[Collection, str]]:
        """Return collection and key of those of these subjects that have an unexpired entry."""

        async def name(bucket: Bucket, subject: str) -> tuple[Collection, str] | None:
            message = await bucket.get(subject)
            if message is None or message.data is None:
                return None
            try:
                found = self._parse(subject, message)
            except CorruptEntry:
                # Of another program, or damaged: what can still be read is listed.
                parsed = self._subjects.parse(subject, message.data)
                return None if parsed is None else parsed[:2]
            return None if found is None else found[:2]

        found = await self._client.run(
            lambda bucket: gather([name(bucket, subject) for subject in subjects])
        )
        return [each for each in found if each is not None]

    def _name(self, subject: str, key: str, collection: Collection) -> bytes:
        """Return the names of a subject, as they are in front of a value; empty if it has them."""
        return self._subjects.frame(subject, collection, key, b"")

    def _check_size(self, bucket: Bucket, payload: bytes, name: bytes) -> None:
        limit: Any = bucket.connection.max_payload
        if len(payload) + 2 * len(name) + _HEADERS > limit:
            raise ValueTooLarge(
                f"an entry must fit into the server's max_payload, {limit} bytes with "
                f"{_HEADERS} for headers; got {len(payload)} bytes. It was not written: raise the "
                "limit, or store smaller values"
            )


def _seconds(expires_at: float | None, now: float) -> int | None:
    """Return the seconds after which the server may free an entry: whole ones, and one more."""
    if expires_at is None or expires_at - now > _LONGEST_LIFETIME:
        return None
    return max(1, math.ceil(expires_at - now)) + 1
