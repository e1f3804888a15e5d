"""The two drivers behind one interface: requests with a body of JSON, and answers with a status."""

from __future__ import annotations

import asyncio
import base64
import io
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

from kvwrap.core.optional import need
from kvwrap.errors import ConfigurationError
from kvwrap.stores.shared.tls import Tls
from kvwrap.stores.shared.transports import end_connector
from kvwrap.stores.shared.urls import Address

_JSON: Final = "application/json"
_HEADERS: Final = {"accept": _JSON, "content-type": _JSON}
_SENT_AT_ONCE: Final = 1024 * 1024
"""Bytes of a body beyond which it is sent in pieces, so that others get turns."""


class Answer(NamedTuple):
    """A server's answer.

    Attributes:
        status: The status of HTTP.
        body: The body, parsed if it is JSON; else a text, or None.
    """

    status: int
    body: Any


class Unreachable(Exception):
    """The server gave no answer.

    Attributes:
        kind: Class of the driver's error.
        was_sent: False if there was no connection, so that nothing can have been carried out.
        is_timeout: True if the driver waited for too long.
    """

    def __init__(self, error: Exception, *, is_timeout: bool = False) -> None:
        super().__init__(type(error).__name__)
        self.kind = type(error).__name__
        self.is_timeout = is_timeout
        self.was_sent = not any(
            type(cause).__name__.startswith("ClientConnector") for cause in _causes(error)
        )


class WrongProduct(Exception):
    """The driver refuses the server, which is of another product."""


@dataclass(frozen=True, kw_only=True)
class ClientOptions:
    """The servers and the login; arguments of `ElasticsearchStore`, which documents them."""

    addresses: Sequence[Address]
    max_connections: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)
    tls: Tls | None = None

    @property
    def hosts(self) -> list[str]:
        """The URLs of the servers, without the login."""
        scheme = "http" if self.tls is None else "https"
        return [f"{scheme}://{address}" for address in dict.fromkeys(self.addresses)]

    @property
    def login(self) -> str | None:
        """Username and password for the header of a login, or None."""
        if self.username is None:
            return None
        # The drivers encode no letters beyond those of Western Europe, or of English.
        return base64.b64encode(f"{self.username}:{self.password or ''}".encode()).decode()


class HTTPClient:
    """A client of one of the drivers.

    Args:
        client: The driver's client.

    Attributes:
        product: Name of the servers' product.
    """

    product: str

    def __init__(self, client: Any) -> None:
        self._client = client

    async def send(
        self, method: str, path: str, body: bytes | None, *, may_miss: bool = False
    ) -> Answer:
        """Send a request once.

        Args:
            method: The method of HTTP.
            path: The path.
            body: The body, as JSON.
            may_miss: True to look for a document: that it is missing is not logged as a failure.

        Raises:
            Unreachable: There was no answer.
            WrongProduct: The server is of another product.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.close()

    def abandon(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the connections of an event loop that no longer runs."""
        for node in self._nodes():
            if node.session is not None:
                end_connector(node.session.connector, loop)

    def _nodes(self) -> Iterable[Any]:
        raise NotImplementedError


class Elasticsearch(HTTPClient):
    """A client of elasticsearch-py. It takes Elasticsearch only."""

    product = "Elasticsearch"

    @classmethod
    def make(cls, options: ClientOptions) -> Elasticsearch:
        """Create a client in the running event loop."""
        arguments: dict[str, Any] = {}
        if options.tls is not None:
            arguments["ssl_context"] = options.tls.context()
        if options.api_key is not None:
            arguments["api_key"] = options.api_key
        elif options.login is not None:
            arguments["basic_auth"] = options.login
        return cls(
            elasticsearch().AsyncElasticsearch(
                options.hosts,
                connections_per_node=options.max_connections,
                # A lost answer must not repeat a write unseen; the store limits the time.
                max_retries=0,
                request_timeout=None,
                serializers={_JSON: _Serializer()},
                **arguments,
            )
        )

    async def send(
        self, method: str, path: str, body: bytes | None, *, may_miss: bool = False
    ) -> Answer:
        driver = elasticsearch()
        try:
            answer = await self._client.perform_request(method, path, headers=_HEADERS, body=body)
        except driver.UnsupportedProductError as error:
            raise WrongProduct from error
        except driver.ApiError as error:
            return Answer(error.meta.status, error.body)
        except driver.ConnectionTimeout as error:
            raise Unreachable(error, is_timeout=True) from error
        except driver.TransportError as error:
            raise Unreachable(error) from error
        return Answer(answer.meta.status, answer.body)

    def _nodes(self) -> Iterable[Any]:
        nodes: Iterable[Any] = self._client.transport.node_pool.all()
        return nodes


class OpenSearch(HTTPClient):
    """A client of opensearch-py."""

    product = "OpenSearch"

    @classmethod
    def make(cls, options: ClientOptions) -> OpenSearch:
        """Create a client in the running event loop."""
        arguments: dict[str, Any] = {}
        if options.tls is not None:
            arguments["ssl_context"] = options.tls.context()
        if options.api_key is not None:
            arguments["headers"] = {"authorization": f"ApiKey {options.api_key}"}
        elif options.login is not None:
            arguments["headers"] = {"authorization": f"Basic {options.login}"}
        return cls(
            opensearch().AsyncOpenSearch(
                options.hosts,
                pool_maxsize=options.max_connections,
                max_retries=0,
                timeout=None,
                serializer=_Serializer(),
                **arguments,
            )
        )

    async def send(
        self, method: str, path: str, body: bytes | None, *, may_miss: bool = False
    ) -> Answer:
        driver = opensearch("opensearchpy.exceptions")
        try:
            found = await self._client.transport.perform_request(
                method, path, body=body, headers=_HEADERS, ignore=(404,) if may_miss else ()
            )
        except driver.ConnectionTimeout as error:
            raise Unreachable(error, is_timeout=True) from error
        except driver.TransportError as error:
            if isinstance(error.status_code, int):
                return Answer(error.status_code, error.info or _parse(error.error))
            raise Unreachable(error) from error
        except driver.SerializationError as error:
            raise Unreachable(error) from error
        # The driver tells no status.
        is_found = not may_miss or (isinstance(found, dict) and found.get("found") is True)
        return Answer(200 if is_found else 404, found)

    async def close(self) -> None:
        for node in self._nodes():
            await node.close()
        await super().close()

    def _nodes(self) -> Iterable[Any]:
        pool = self._client.transport.connection_pool
        # The others are only those that answered last.
        nodes: Iterable[Any] = getattr(pool, "orig_connections", pool.connections)
        return nodes


def wrap(client: object) -> HTTPClient:
    """Return a client of the user's as one of these.

    Raises:
        ConfigurationError: It is neither an AsyncElasticsearch nor an AsyncOpenSearch.
    """
    for module, name, wrapper in (
        ("elasticsearch", "AsyncElasticsearch", Elasticsearch),
        ("opensearchpy", "AsyncOpenSearch", OpenSearch),
    ):
        cls = getattr(sys.modules.get(module), name, None)
        if cls is not None and isinstance(client, cls):
            return wrapper(client)
    raise ConfigurationError(
        "`client` must be an elasticsearch.AsyncElasticsearch or an opensearchpy.AsyncOpenSearch; "
        f"got {type(client).__name__}"
    )


def elasticsearch() -> Any:
    """Import the driver of Elasticsearch."""
    need("aiohttp", extra="elasticsearch", wanted_by="ElasticsearchStore")
    return need("elasticsearch", extra="elasticsearch", wanted_by="ElasticsearchStore")


def opensearch(module: str = "opensearchpy") -> Any:
    """Import a module of the driver of OpenSearch."""
    need("aiohttp", extra="opensearch", wanted_by="ElasticsearchStore")
    return need(module, extra="opensearch", wanted_by="ElasticsearchStore")


class _Body(io.BytesIO):
    """A body that is sent in pieces, and that a driver can log."""

    def decode(self, *arguments: str) -> str:
        return self.getvalue().decode(*arguments)


class _Serializer:
    """Parses with the fastest library, and sends what is serialized already."""

    mimetype = _JSON

    def loads(self, data: str | bytes) -> Any:
        return _parse(data)

    def dumps(self, data: bytes) -> bytes | _Body:
        return data if len(data) <= _SENT_AT_ONCE else _Body(data)


def _parse(data: object) -> Any:
    """Return parsed JSON, or any other body as it is."""
    if isinstance(data, str | bytes):
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            pass
    return data


def _causes(error: BaseException | None) -> Iterable[BaseException]:
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        # One of the drivers raises its error "from None" where it was caught, the other keeps it.
        error = error.__cause__ or error.__context__
    return seen
