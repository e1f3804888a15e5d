"""Connections to etcd, and the translation of its errors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from ssl import SSLContext
from typing import Any, Final

from kvwrap.errors import (
    AccessDenied,
    KvwrapError,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
)
from kvwrap.stores.etcd.cluster import NO_LEADER, Cluster, transport_errors
from kvwrap.stores.etcd.lines import Line, NotSent
from kvwrap.stores.etcd.protocol import driver
from kvwrap.stores.shared.client import Driver
from kvwrap.stores.shared.tls import WHETHER_TLS, Tls
from kvwrap.stores.shared.urls import Address

_TOO_LARGE: Final = ("etcdserver: request is too large", "etcdserver: too many operations in txn")
_OF_THE_TRANSPORT: Final = "larger than max"
_NO_SPACE: Final = "etcdserver: mvcc: database space exceeded"
_COMPACTED: Final = "etcdserver: mvcc: required revision has been compacted"
_NO_LEASE: Final = "etcdserver: requested lease not found"
_LOGINS: Final = {
    "etcdserver: authentication failed, invalid user ID or password": "refuses this username or "
    "password: check the login",
    "etcdserver: authentication is not enabled": "has no users, so that it cannot check the login: "
    "enable authentication, or give no login",
    "etcdserver: user name is empty": "wants a login: give a username and a password",
}


@dataclass(frozen=True, kw_only=True)
class EtcdOptions:
    """The servers and the login; the arguments of `EtcdStore`, which documents them."""

    addresses: Sequence[Address]
    fence: bytes
    timeout: float | None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None


class Etcd(Driver[Cluster]):
    """Connects to servers of etcd, or uses a channel of the user's.

    Args:
        options: The servers and the login.
        channel: A `grpclib.client.Channel` of the user's, or None.
    """

    def __init__(self, options: EtcdOptions, channel: Any = None) -> None:
        self._options = options
        self._channel = channel
        self.server = f"etcd at {','.join(map(str, options.addresses))}"
        self.servers = () if channel is not None else tuple(options.addresses)
        if channel is not None:
            self.server = "etcd at the server of the client"

    async def connect(self) -> Cluster:
        options = self._options
        login = None if options.username is None else (options.username, options.password or "")
        context = None
        if options.tls is not None:
            context = options.tls.context()
            context.set_alpn_protocols(["h2"])
        opens = [partial(self._open, address, context) for address in options.addresses]
        if self._channel is not None:
            opens = [partial(Line, self._channel, is_own=False)]
        patience = None if options.timeout is None else options.timeout * 0.8
        return Cluster(opens, fence=options.fence, login=login, patience=patience)

    def _open(self, address: Address, context: SSLContext | None) -> Line:
        channel = driver("grpclib.client").Channel(address.host, address.port, ssl=context)
        return Line(channel, is_own=True)

    async def disconnect(self, client: Cluster) -> None:
        client.close()

    def abandon(self, client: Cluster, loop: asyncio.AbstractEventLoop) -> None:
        client.abandon(loop)

    def translate(self, error: Exception) -> KvwrapError | None:
        kind = type(error.__cause__ if isinstance(error, NotSent) else error).__name__
        if isinstance(error, driver("grpclib").GRPCError):
            return self._translate_answer(error.status, error.message or "")
        if isinstance(error, TimeoutError):
            return StoreTimeout(
                f"{self.server} did not answer in time: check the server's load and the network, "
                "or give the store a longer timeout"
            )
        if isinstance(error, (NotSent, *transport_errors())):
            return StoreUnavailable(
                f"{self.server} cannot be reached ({kind}): check that the server is running, its "
                f"host and port, and {WHETHER_TLS}"
            )
        return None

    def _translate_answer(self, status: Any, message: str) -> KvwrapError:
        known = driver("grpclib").Status
        if message.startswith(_TOO_LARGE) or _OF_THE_TRANSPORT in message:
            return ValueTooLarge(
                f"an entry must fit into a request to {self.server}, 1.5 MiB unless "
                "--max-request-bytes says otherwise. It was not written: raise that limit, or "
                "store smaller values"
            )
        if message == _NO_SPACE:
            return StoreFull(
                f"{self.server} has reached its quota of space: delete entries, then compact and "
                "defragment etcd and disarm its alarm, or raise --quota-backend-bytes"
            )
        if status is known.PERMISSION_DENIED:
            return AccessDenied(
                f"{self.server} does not permit this user to use the keys with the store's "
                "prefix so: extend the roles of the user"
            )
        if message in _LOGINS:
            return StoreUnavailable(f"{self.server} {_LOGINS[message]}")
        if message == NO_LEADER:
            return StoreUnavailable(
                f"{self.server} has no leader now: check that most of its servers run"
            )
        if status is known.DEADLINE_EXCEEDED or "timed out" in message:
            return StoreTimeout(
                f"{self.server} did not carry out the request in time: check that most of its "
                "servers run, and their load"
            )
        return StoreUnavailable(f"{self.server} refused the request ({status.name})")


def is_compacted(error: BaseException | None) -> bool:
    """Return True for the error of a read at a revision that etcd has no more."""
    return getattr(error, "message", None) == _COMPACTED


def is_without_lease(error: BaseException | None) -> bool:
    """Return True for the error of a write with a lease that has ended."""
    return getattr(error, "message", None) == _NO_LEASE
