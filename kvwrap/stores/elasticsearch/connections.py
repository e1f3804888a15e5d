"""Connections to Elasticsearch and OpenSearch, and what their errors mean."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from kvwrap.errors import (
    AccessDenied,
    ConfigurationError,
    KvwrapError,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
)
from kvwrap.stores.elasticsearch.clients import (
    ClientOptions,
    Elasticsearch,
    HTTPClient,
    OpenSearch,
    Unreachable,
    WrongProduct,
    elasticsearch,
    opensearch,
    wrap,
)
from kvwrap.stores.elasticsearch.index import Index
from kvwrap.stores.elasticsearch.requests import Refused
from kvwrap.stores.shared.client import Driver
from kvwrap.stores.shared.tls import WHETHER_TLS, WITHOUT_TLS, has_no_tls

SCHEMES: Final[dict[str, type[Elasticsearch | OpenSearch]]] = {
    "elasticsearch": Elasticsearch,
    "opensearch": OpenSearch,
}
"""The clients by the scheme of a URL."""


class Servers(Driver[Index]):
    """Connects to servers of Elasticsearch or OpenSearch, or uses a client of the user's.

    Args:
        scheme: The scheme of the URL, which chooses the driver.
        options: The servers and the login.
        client: An `AsyncElasticsearch` or an `AsyncOpenSearch` of the user's, or None.
        alias: The name of the index.
        timeout: Seconds for one call; None for no limit.
    """

    def __init__(
        self,
        scheme: str,
        options: ClientOptions,
        client: object,
        *,
        alias: str,
        timeout: float | None,
    ) -> None:
        self._options = options
        self._alias = alias
        self._timeout = timeout
        self._client: HTTPClient | None = None
        self._kind = SCHEMES[scheme]
        if client is not None:
            self._client = wrap(client)
            self.server = f"{self._client.product} at the servers of the client"
        else:
            elasticsearch() if self._kind is Elasticsearch else opensearch()
            addresses = ",".join(map(str, options.addresses))
            self.server = f"{self._kind.product} at {addresses}"
            self.servers = tuple(options.addresses)

    async def connect(self) -> Index:
        client = self._client or self._kind.make(self._options)
        index = Index(
            client,
            self._alias,
            timeout=self._timeout,
            servers=1 if self._client else len(self._options.addresses),
            before_creation=partial(self.check_creates, f"index {self._alias!r}"),
        )
        try:
            await index.ensure()
        except BaseException:
            if self._client is None:
                await client.close()
            raise
        return index

    async def disconnect(self, client: Index) -> None:
        await client.client.close()

    def abandon(self, client: Index, loop: asyncio.AbstractEventLoop) -> None:
        client.client.abandon(loop)

    def translate(self, error: Exception) -> KvwrapError | None:
        if isinstance(error, Unreachable):
            if error.is_timeout:
                return StoreTimeout(
                    f"{self.server} did not answer in time ({error.kind}): check the servers' "
                    "load and the network, or give the client a longer timeout"
                )
            if has_no_tls(error):
                return StoreUnavailable(f"{self.server} {WITHOUT_TLS}")
            return StoreUnavailable(
                f"{self.server} cannot be reached ({error.kind}): check that a server is running, "
                f"its host, port and certificate, and {WHETHER_TLS}"
            )
        if isinstance(error, WrongProduct):
            return ConfigurationError(
                f"{self.server} must be Elasticsearch, which its driver insists on; it is another "
                "product: use opensearch:// for OpenSearch"
            )
        return self._refusal(error) if isinstance(error, Refused) else None

    def _refusal(self, refused: Refused) -> KvwrapError:
        reason = f"{refused.status} {refused.kind}".rstrip()
        if refused.is_full:
            return StoreFull(
                f"{self.server} has nearly no disk space left, and made the index "
                f"{self._alias!r} read-only ({reason}): free some, or delete entries"
            )
        if refused.status == 406:
            return ConfigurationError(
                f"{self.server} does not speak the driver's version ({reason}): use opensearch:// "
                "for OpenSearch, or a driver of the servers' version"
            )
        if refused.status == 401:
            return StoreUnavailable(
                f"{self.server} refuses this login ({reason}): check the username, the password or "
                "the API key"
            )
        if refused.status == 403 and not refused.is_block:
            return AccessDenied(
                f"{self.server} does not permit this login to use the index {self._alias!r} so "
                f"({reason}): extend its privileges"
            )
        if refused.status == 413:
            return ValueTooLarge(
                f"an entry must fit into a request to {self.server}, whose limit is "
                f"http.max_content_length ({reason}). It was not written: store smaller values"
            )
        if refused.is_busy:
            return StoreUnavailable(
                f"{self.server} is asked too much of, or has no shard ready ({reason}): try again, "
                "for which Retry is made, or add servers"
            )
        if refused.is_missing_index:
            return StoreUnavailable(
                f"{self.server} has no index {self._alias!r} ({reason}): create it, or permit this "
                "login to do so"
            )
        return StoreUnavailable(f"{self.server} refused the request ({reason})")
