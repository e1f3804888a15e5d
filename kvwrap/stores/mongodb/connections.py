"""Clients of MongoDB, and the translation of the driver's errors."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from kvwrap.core.optional import need
from kvwrap.core.validation import suggest
from kvwrap.errors import (
    AccessDenied,
    ConfigurationError,
    KvwrapError,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
)
from kvwrap.stores.mongodb.documents import EXPIRES
from kvwrap.stores.shared import urls
from kvwrap.stores.shared.client import Driver
from kvwrap.stores.shared.tls import TLS_OPTIONS, WHETHER_TLS, Tls
from kvwrap.stores.shared.transports import end_transport

_UNAUTHORIZED: Final = 13
_AUTHENTICATION_FAILED: Final = 18
_OUT_OF_DISK_SPACE: Final = frozenset({14031, 12501})
_EXCEEDED_TIME: Final = 50
DUPLICATE_KEY: Final = 11000
_TLS_FILES: Final = frozenset({"tlscafile", "tlscertificatekeyfile"})
SRV: Final = "mongodb+srv://"
OWN_OPTIONS: Final = {
    "collection": urls.TEXT,
    "native": urls.FLAG,
    "timeout": urls.NUMBER_OR_NONE,
    "max_connections": urls.INTEGER,
    "default_collection": urls.TEXT,
    **TLS_OPTIONS,
}
"""The options of a URL that are the store's, and not the driver's."""


def driver(module: str = "pymongo") -> Any:
    """Import a module of the driver's package."""
    return need(module, extra="mongodb", wanted_by="MongoDBStore")


class Place(NamedTuple):
    """A client, and the collection of MongoDB that has the entries."""

    client: Any
    documents: Any


class MongoDB(Driver[Place]):
    """Connects to MongoDB, or uses a client of the user's.

    Args:
        url: URL of the servers, with options of the driver; None with a client.
        client: A `pymongo.AsyncMongoClient` of the user's, or None.
        database: Name of the database.
        collection: Name of the collection of MongoDB.
        max_connections: Maximum number of connections.
        timeout: Seconds within which a server must be found; None for the driver's 30.
        tls: True or a description for TLS, False for none, None for what the URL says.

    Raises:
        ConfigurationError: The driver refuses the URL or the names.
    """

    def __init__(
        self,
        url: str | None,
        client: Any,
        *,
        database: str,
        collection: str,
        max_connections: int,
        timeout: float | None,
        tls: Tls | bool | None,
    ) -> None:
        self._url = url
        self._client = client
        self._database = database
        self._collection = collection
        _check_options(url, tls)
        self._options: dict[str, Any] = {"maxPoolSize": max_connections, "connect": False}
        self._options |= _tls_options(tls)
        if timeout is not None:
            self._options["serverSelectionTimeoutMS"] = round(timeout * 600)
        if client is not None and not isinstance(client, driver().AsyncMongoClient):
            raise ConfigurationError(
                f"`client` must be a pymongo.AsyncMongoClient; got {type(client).__name__}"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # for options that it does not know
                made = client or self._make()
                acknowledged = made[database][collection].write_concern.acknowledged
                servers = _servers_of(url)
        except Exception as error:
            if not isinstance(error, (*self._refusals(), TypeError, ValueError, OSError, Warning)):
                raise
            # Neither the URL nor the driver's text is shown: they may contain the password.
            raise ConfigurationError(
                "the URL, its options, `database` and `collection` must be what the driver "
                f"accepts; it refused them ({type(error).__name__})"
            ) from None
        if not acknowledged:
            raise ConfigurationError(
                "the write concern must have answers (w=1 or more), which conditional writes need; "
                "got w=0"
            )
        names = ",".join(host if port is None else f"{host}:{port}" for host, port in servers)
        self.server = f"MongoDB at {names or 'the servers of the client'}"
        self.servers = servers

    @staticmethod
    def _refusals() -> tuple[type[Exception], ...]:
        known = driver("pymongo.errors")
        return (known.PyMongoError, driver("bson.errors").BSONError)

    def _make(self) -> Any:
        return driver().AsyncMongoClient(self._url, **self._options)

    async def connect(self) -> Place:
        client = self._client or self._make()
        options = driver("bson.codec_options")
        documents = client[self._database].get_collection(
            self._collection,
            # Times that Python's datetime does not reach.
            codec_options=options.CodecOptions(
                datetime_conversion=options.DatetimeConversion.DATETIME_MS
            ),
        )
        place = Place(client, documents)
        try:
            if self.creates:
                # The server looks for expired documents about once a minute.
                await place.documents.create_index(EXPIRES, expireAfterSeconds=0, sparse=True)
            elif not await self._has_collection(client):
                self.check_creates(f"collection {self._database}.{self._collection}")
        except driver("pymongo.errors").OperationFailure as error:
            if error.code != _UNAUTHORIZED:  # an account that may only read or write
                await self._end(client)
                raise
        except BaseException:
            await self._end(client)
            raise
        return place

    async def _has_collection(self, client: Any) -> bool:
        wanted = {"name": self._collection}
        return bool(await client[self._database].list_collection_names(filter=wanted))

    async def _end(self, client: Any) -> None:
        if self._client is None:
            await client.close()

    async def disconnect(self, client: Place) -> None:
        await client.client.close()

    def abandon(self, client: Place, loop: asyncio.AbstractEventLoop) -> None:
        # The driver has no public names for its connections, and closes them only in their loop.
        client.client._closed = True
        for server in client.client._topology._servers.values():
            for pool in (server.pool, server._monitor._pool):
                for connection in (*pool.conns, *pool.active_contexts):
                    transport = getattr(getattr(connection, "conn", None), "conn", None)
                    if transport is not None:
                        end_transport(transport[0], loop)

    def translate(self, error: Exception) -> KvwrapError | None:
        known = driver("pymongo.errors")
        if not isinstance(error, self._refusals()):
            return None
        kind, code = type(error).__name__, getattr(error, "code", None)
        if isinstance(error, known.DocumentTooLarge):
            return ValueTooLarge(
                f"an entry must fit into a document of {self.server}, 16 MiB. It was not written: "
                "store smaller values"
            )
        if isinstance(error, known.NetworkTimeout) or code == _EXCEEDED_TIME:
            return StoreTimeout(
                f"{self.server} did not answer in time ({kind}): check the server's load and the "
                "network, or give the store a longer timeout"
            )
        if code in _OUT_OF_DISK_SPACE:
            return StoreFull(
                f"{self.server} has no space left ({kind}): free some, or delete entries"
            )
        if code == _UNAUTHORIZED:
            return AccessDenied(
                f"{self.server} does not permit this user to use the collection "
                f"{self._database}.{self._collection} so ({kind}): extend the user's roles"
            )
        if code == _AUTHENTICATION_FAILED:
            return StoreUnavailable(
                f"{self.server} refuses this username or password ({kind}): check the login, and "
                "authSource"
            )
        if isinstance(error, known.OperationFailure):
            return StoreUnavailable(f"{self.server} refused the command ({kind}, code {code})")
        return StoreUnavailable(
            f"{self.server} cannot be reached ({kind}): check that the server is running, its host "
            f"and port, {WHETHER_TLS}, and, with a replica set, that it has a primary"
        )


def _servers_of(url: str | None) -> Sequence[tuple[str, int | None]]:
    """Return the hosts and ports in a URL."""
    if url is None:
        return ()
    if url.startswith(SRV):  # the driver asks for the servers behind this name when it connects
        name = url.removeprefix(SRV).partition("?")[0].partition("/")[0].rpartition("@")[2]
        return ((name, None),)
    return tuple(driver("pymongo.uri_parser").parse_uri(url)["nodelist"])


def _tls_options(tls: Tls | bool | None) -> dict[str, Any]:
    """Return what the driver calls these options."""
    if not isinstance(tls, Tls):
        return {} if tls is None else {"tls": tls}
    if tls.key is not None:
        raise ConfigurationError(
            "`key` must be in the file of `cert` for a MongoDBStore, since its driver takes both "
            "from one file: append the private key to the certificate"
        )
    files = {"tlsCAFile": tls.ca, "tlsCertificateKeyFile": tls.cert}
    return {"tls": True} | {name: path for name, path in files.items() if path is not None}


def _check_options(url: str | None, tls: Tls | bool | None) -> None:
    """Raise `ConfigurationError` for an option that the driver does not know, or has twice."""
    has_files = isinstance(tls, Tls) and not {tls.ca, tls.cert} <= {None}
    query = "" if url is None else url.partition("?")[2]
    known = driver("pymongo.common").VALIDATORS
    for name, _ in parse_qsl(query, keep_blank_values=True):
        if has_files and name.lower() in _TLS_FILES:
            raise ConfigurationError(
                "the files of TLS must be given as `ca` and `cert`, or by the driver's own options "
                f"in the URL; got both, and {name!r} among the latter"
            )
        if name.lower() not in known:
            # With a typo in the URL, it may be part of a password.
            shown = f" {name!r}" if name.isidentifier() and f"{name}=" in query else ""
            raise ConfigurationError(
                f"unknown URL option{shown}: {suggest(name.lower(), {*OWN_OPTIONS, *known})} (the "
                "driver's options are written in any case)"
            )
