"""Connections to NATS, and the translation of the driver's errors."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from kvwrap.core.optional import need
from kvwrap.errors import (
    ConfigurationError,
    KvwrapError,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
)
from kvwrap.stores.nats.bucket import Bucket, Refused
from kvwrap.stores.shared.client import Driver
from kvwrap.stores.shared.tls import WHETHER_TLS, Tls
from kvwrap.stores.shared.transports import end_transport, read_in_parts
from kvwrap.stores.shared.urls import Address

_CONNECT_TIMEOUT: Final = 2
_ATTEMPTS: Final = 3
"""Further attempts to connect to a server, before it counts as unreachable."""
_PATIENCE: Final = 86_400.0
"""Seconds to wait for an answer, for a store without a limit of time."""
_DENIED: Final = re.compile(r'permissions violation for publish to "(.+?)"', re.IGNORECASE)
_MOST_DENIED: Final = 1000
_FULL: Final = frozenset({10023, 10028, 10047, 10077})
"""Errors of JetStream for a limit of memory, disk, messages or bytes that was reached."""
_TOO_LARGE: Final = 10054
_WITHOUT_JETSTREAM: Final = frozenset({10039, 10076})


@dataclass(frozen=True, kw_only=True)
class NATSOptions:
    """The servers, the login and the bucket; the arguments of `NATSStore`, which documents them."""

    addresses: Sequence[Address]
    bucket: str
    replicas: int
    timeout: float | None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None


def driver(module: str = "nats") -> Any:
    """Import a module of the driver's package."""
    return need(module, extra="nats", wanted_by="NATSStore")


class NATS(Driver[Bucket]):
    """Connects to servers of NATS, or uses a connection of the user's.

    Args:
        options: The servers and the bucket.
        connection: A connected `nats.aio.client.Client` of the user's, or None.

    Attributes:
        is_own: False if the connection is the user's.
    """

    def __init__(self, options: NATSOptions, connection: Any = None) -> None:
        self._options = options
        self._connection = connection
        self._denied: set[str] = set()
        self.is_own = connection is None
        self.server = f"NATS at {','.join(map(str, options.addresses))}"
        self.servers = () if connection is not None else tuple(options.addresses)
        if connection is not None:
            self.server = "NATS at the servers of the client"

    async def connect(self) -> Bucket:
        return await self._enter(self._connection or await self._open())

    async def connect_link(self, cut: Callable[[], None]) -> Bucket:
        """Connect as `connect` does, over another connection, for one that tells changes.

        Args:
            cut: Called when that connection was lost. It is not made again. One of the user's
                serves for this too; it is made again, and nothing is called.
        """
        return await self._enter(self._connection or await self._open(cut))

    async def _enter(self, connection: Any) -> Bucket:
        options = self._options
        bucket = Bucket(
            connection,
            options.bucket,
            no_responders=driver("nats.errors").NoRespondersError,
            patience=_PATIENCE if options.timeout is None else options.timeout * 0.8,
            denied=self._denied,
        )
        try:
            await bucket.ensure(
                options.replicas, partial(self.check_creates, f"bucket {options.bucket!r}")
            )
        except BaseException:
            if self._connection is None:
                await connection.close()
            raise
        return bucket

    async def _open(self, cut: Callable[[], None] | None = None) -> Any:
        options = self._options
        errors: list[Exception] = []

        async def note(error: Exception) -> None:
            # The connection is made again by itself, and each call raises its own error. A refusal
            # of the login may be lost, as the server closes the connection: one says more.
            if not any(map(_is_refused_login, errors)):
                errors[:] = [error]
            # The driver leaves the socket of a failed attempt to the garbage collector.
            if not client.is_connected and client._transport is not None:
                client._transport.close()
            if (denied := _DENIED.search(str(error))) and len(self._denied) < _MOST_DENIED:
                self._denied.add(denied[1].lower())

        def login(text: str | None) -> Callable[[], str | None]:
            def give() -> str | None:
                check()  # before the login is sent, and again after each reconnection
                return text

            return give

        def check() -> None:
            # The driver goes on without TLS if the server does not ask for it.
            writer = client._transport._io_writer
            if options.tls is not None and writer.get_extra_info("ssl_object") is None:
                raise StoreUnavailable(
                    f"{self.server} does not offer TLS, which was asked for; nothing was sent to "
                    "it: check the server and what is between"
                )
            read_in_parts(writer.transport)

        async def forget() -> None:
            # What was not sent would be when the connection is back, after the writes of others.
            client._pending.clear()
            client._pending_data_size = 0
            if cut is not None:
                cut()

        async def check_again() -> None:
            try:
                check()
            except StoreUnavailable:
                await client.close()

        scheme = "nats" if options.tls is None else "tls"
        client = driver("nats.aio.client").Client()
        try:
            await client.connect(
                [f"{scheme}://{address}" for address in options.addresses],
                user=None if options.username is None else login(options.username),
                password=None if options.password is None else login(options.password),
                tls=None if options.tls is None else options.tls.context(),
                connect_timeout=_CONNECT_TIMEOUT,
                max_reconnect_attempts=_ATTEMPTS,
                reconnect_time_wait=0.1,
                error_cb=note,
                disconnected_cb=forget,
                reconnected_cb=check_again,
                name="kvwrap",
            )
            check()
        except driver("nats.errors").NoServersError as error:
            raise (errors[0] if errors else error) from None
        except BaseException:
            await client.close()
            raise
        client.options["max_reconnect_attempts"] = -1  # from now on, for as long as it is open
        client.options["allow_reconnect"] = cut is None
        return client

    async def disconnect(self, client: Bucket) -> None:
        await client.connection.close()

    def abandon(self, client: Bucket, loop: asyncio.AbstractEventLoop) -> None:
        # The driver has no public name for its transport.
        transport = client.connection._transport
        writer = None if transport is None else transport._io_writer
        if writer is not None:
            end_transport(writer.transport, loop)

    def is_usable(self, client: Bucket) -> bool:
        return not client.connection.is_closed

    def translate(self, error: Exception) -> KvwrapError | None:
        if isinstance(error, Refused):
            return self._translate_refusal(error)
        known = driver("nats.errors")
        kind = type(error).__name__
        if isinstance(error, known.AuthorizationError) or _is_refused_login(error):
            return StoreUnavailable(
                f"{self.server} refuses this username or password ({kind}): check the login"
            )
        if isinstance(error, known.TimeoutError):
            return StoreTimeout(
                f"{self.server} did not answer in time ({kind}): check the server's load and the "
                "network, or give the store a longer timeout"
            )
        if isinstance(error, known.NoRespondersError):
            return StoreUnavailable(
                f"{self.server} has no JetStream that answers for the bucket "
                f"{self._options.bucket!r} now ({kind}): check that JetStream is enabled, and that "
                "most of its servers run"
            )
        if isinstance(error, known.MaxPayloadError):
            return ValueTooLarge(
                f"an entry must not be larger than max_payload of {self.server}. It was not "
                "written: raise that limit, or store smaller values"
            )
        if isinstance(error, known.Error | OSError | asyncio.TimeoutError | ValueError):
            return StoreUnavailable(
                f"{self.server} cannot be reached ({kind}): check that the server is running and "
                f"takes further connections, its host and port, and {WHETHER_TLS}"
            )
        return None

    def _translate_refusal(self, error: Refused) -> KvwrapError:
        if error.code in _FULL:
            return StoreFull(
                f"{self.server} has reached a limit of JetStream or of the stream "
                f"({error.description}): raise it, or delete entries"
            )
        if error.code == _TOO_LARGE:
            return ValueTooLarge(
                f"an entry must not be larger than the stream's limit ({error.description}). It "
                "was not written: raise max_msg_size, or store smaller values"
            )
        if error.code in _WITHOUT_JETSTREAM:
            return ConfigurationError(
                f"{self.server} must have JetStream enabled ({error.description}): start it with "
                "-js, or enable it for this account"
            )
        return StoreUnavailable(f"{self.server} refused the request ({error.description})")


def _is_refused_login(error: Exception) -> bool:
    return "authorization" in str(error).lower()
