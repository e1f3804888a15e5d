"""Links over which Redis tells what changes: to one server, or to every master of a cluster."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Sequence
from typing import Any, Final, TypeVar

from kvwrap.core.changes import ChangeKind
from kvwrap.core.clock import Clock
from kvwrap.core.concurrency import gather
from kvwrap.core.optimistic import backoff
from kvwrap.errors import KvwrapError, StoreUnavailable
from kvwrap.stores.redis.access import reach_nodes, reach_server
from kvwrap.stores.redis.connections import cluster_addresses, is_cluster, location
from kvwrap.stores.redis.errors import driver, translate_error
from kvwrap.stores.redis.forms import make_form
from kvwrap.stores.redis.masters import Masters, parse_masters
from kvwrap.stores.redis.messages import Refused
from kvwrap.stores.redis.options import RedisOptions
from kvwrap.stores.redis.pools import Pool
from kvwrap.stores.redis.wire import Wire, close_all
from kvwrap.stores.shared.feed import Feed, Line
from kvwrap.stores.shared.urls import Address

T = TypeVar("T")

_TIMEOUT: Final = 5.0
"""Seconds for an answer, for a store that has no limit."""


class RedisLink:
    """What links to one server and to a cluster have in common.

    Args:
        options: The server, the login, and the form of the names.
        store: Name of the store, for errors.
        line: The line of the feed, which is told.
    """

    resumes = False
    server: str

    def __init__(self, options: RedisOptions, store: str, line: Line) -> None:
        self._options = options
        self._store = store
        self._line = line
        self._form = make_form(options)

    @abstractmethod
    async def _open(self) -> None:
        """Connect, and have the changes told."""

    @abstractmethod
    async def _check(self) -> None:
        """Return when everything has been told that was changed before the call."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect."""

    async def connect(self) -> bool:
        """Connect; return False when every later change will be told: others may be missed."""
        await self._translated(self._open())
        return False

    async def ping(self) -> None:
        """Return when everything that was changed before the call has been told."""
        await self._translated(self._check())

    def _make_wire(self, pool: Pool, where: str) -> Wire:
        return Wire(pool, f"{self._options.product} at {where}", self._hear, self._line.cut)

    def _hear(self, names: Sequence[bytes] | None) -> None:
        if names is None:
            self._line.lose()  # FLUSHALL, FLUSHDB
            return
        for name in names:
            places = self._form.places(name)
            if places is None:
                self._line.lose()
                return
            for collection, key in places:
                self._line.tell(ChangeKind.CHANGED, collection, key)

    async def _translated(self, call: Awaitable[T]) -> T:
        known = driver("redis.exceptions")
        try:
            return await call
        except KvwrapError as error:  # of which some are OSErrors
            error.store = self._store
            raise
        except (known.RedisError, OSError) as error:
            raise translate_error(error, self.server, store=self._store) from error


class ServerLink(RedisLink):
    """A link to one server, or to the master of Sentinel's service."""

    def __init__(self, options: RedisOptions, store: str, line: Line) -> None:
        super().__init__(options, store, line)
        self._make_pool, self._where = reach_server(options)
        self.server = f"{options.product} at {self._where}"
        self._wire: Wire | None = None
        self._role: Any = None

    async def _open(self) -> None:
        wire = self._wire = self._make_wire(self._make_pool(), self._where)
        await wire.connect()
        await wire.track(self._form.names.root)
        self._role = await wire.role()

    async def _check(self) -> None:
        wire = self._wire
        if wire is None or await wire.role() != self._role or await wire.is_outdated():
            raise self._moved()
        # A server with threads may answer before it tells what it has changed in the same
        # turn, but tells that before it answers again.
        await wire.ask("PING")

    def _moved(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self.server} is no longer the server that it was: a master became a replica, or a "
            "replica the master"
        )

    async def close(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()


class ClusterLink(RedisLink):
    """A connection to each master of a cluster. If the masters change, the link is broken.

    A slot can only move to a node that the previous owner knows as a master, also while it
    moves. So all masters are asked who the masters are, and all must name those that are linked.
    """

    def __init__(self, options: RedisOptions, store: str, line: Line) -> None:
        super().__init__(options, store, line)
        self._make_pool = reach_nodes(options)
        self._known: list[Address] = list(cluster_addresses(options))
        self.server = f"{options.product} at {', '.join(map(str, self._known))}"
        self._wires: dict[str, Wire] = {}

    async def _open(self) -> None:
        attempt = 0
        while True:
            masters = await self._find_masters()
            if masters.is_settled:
                self._wires = {
                    identity: self._make_wire(self._make_pool(address), str(address))
                    for identity, address in masters.addresses.items()
                }
                await gather([self._link(wire) for wire in self._wires.values()])
                if await self._is_whole():
                    self._known = list(masters.addresses.values())
                    return
                await self.close()
            attempt += 1
            await backoff(attempt)  # the caller limits the time

    async def _check(self) -> None:
        if not self._wires or not await self._is_whole():
            raise StoreUnavailable(
                f"the cluster of {self._options.product} has other masters than before"
            )
        await gather([wire.ask("PING") for wire in self._wires.values()])  # as for one server

    async def _link(self, wire: Wire) -> None:
        await wire.connect()
        await wire.track(self._form.names.root)

    async def _is_whole(self) -> bool:
        """Return True if every master says that the masters are those that are linked."""
        views = await gather([self._view(wire) for wire in self._wires.values()])
        return all(
            view.is_settled and view.addresses.keys() == self._wires.keys() for view in views
        ) and all(view.own == identity for view, identity in zip(views, self._wires, strict=True))

    async def _find_masters(self) -> Masters:
        """Ask the nodes for the masters, one after the other, until one answers."""
        problem: Exception | None = None
        for address in dict.fromkeys((*self._known, *cluster_addresses(self._options))):
            wire = self._make_wire(self._make_pool(address), str(address))
            try:
                await wire.connect()
                return await self._view(wire, address)
            except (driver("redis.exceptions").RedisError, OSError) as error:
                problem = error
            finally:
                await wire.close()
        assert problem is not None
        raise problem

    async def _view(self, wire: Wire, asked: Address | None = None) -> Masters:
        nodes = await wire.ask("CLUSTER NODES")
        slots = [] if asked is None else await wire.ask("CLUSTER SLOTS")
        if isinstance(nodes, Refused) and str(nodes).startswith("NOPERM"):
            raise wire.unsupported("CLUSTER NODES")
        return parse_masters(nodes, slots, asked)

    async def close(self) -> None:
        wires, self._wires = self._wires, {}
        await close_all(wires.values())


def make_feed(options: RedisOptions, clock: Clock, *, store: str) -> Feed:
    """Create the feed of a store with these options."""
    login = (options.username, options.password, options.sentinel_username)
    secured = (options.tls, options.ca, options.cert, options.key)
    cls = ClusterLink if is_cluster(options) else ServerLink
    return Feed(
        (options.product, location(options), options.url, id(options.client), login, secured),
        lambda line: cls(options, store, line),
        clock,
        timeout=options.timeout or _TIMEOUT,
        owner=store,
    )
