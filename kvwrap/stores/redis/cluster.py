"""Commands to a cluster: each to the node that has the key, and to all nodes at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

from kvwrap.errors import KvwrapError, StoreUnavailable
from kvwrap.stores.redis.access import reach_nodes
from kvwrap.stores.redis.connections import cluster_addresses, make_settings
from kvwrap.stores.redis.errors import driver
from kvwrap.stores.redis.node import Node
from kvwrap.stores.redis.options import RedisOptions
from kvwrap.stores.redis.server import Command, Server
from kvwrap.stores.redis.topology import Topology, node_address
from kvwrap.stores.shared.urls import Address

_REDIRECTIONS: Final = 8
"""How often a key is looked for at another node in one call."""

_PATIENCE: Final = 1.0
"""Seconds to wait for a node's description of the cluster, before the next one is asked."""


class ClusterServer(Server):
    """Sends commands to the nodes of a cluster.

    A batch is one round trip to each node that has one of its keys. If a node fails, its commands
    have an error in place of their answers, and those of the other nodes are carried out. A node
    that no longer has a key says where it is, and the commands for this key are sent there.
    """

    splits = True
    _needed_to_watch = (("CLUSTER NODES",),)

    def __init__(
        self, options: RedisOptions, *, store: str, ensure_open: Callable[[], Awaitable[None]]
    ) -> None:
        self._addresses = cluster_addresses(options)
        self._make_pool = reach_nodes(options)
        self._topology = Topology(self._addresses)
        self._by_address: dict[Address, Node] = {}
        self._locks: WeakKeyDictionary[Any, asyncio.Lock] = WeakKeyDictionary()  # by event loop
        super().__init__(options, store=store, ensure_open=ensure_open)

    def _make_only_node(self) -> Node:
        if self._options.client is None:
            self._timeout = make_settings(self._options).timeout(self._timeout)
        return self._node_at(self._addresses[0])

    @property
    def idle(self) -> bool:
        return all(node.idle for node in self._by_address.values())

    @property
    def layout(self) -> object:
        return self._topology.version

    def open(self) -> None:
        super().open()
        known = driver("redis.exceptions")
        self._moved, self._redirected = known.MovedError, known.AskError
        self._outdated = (
            *(KvwrapError, known.ClusterDownError, known.ReadOnlyError),
            known.MasterDownError,
        )

    async def close(self) -> None:
        self.is_open = False
        for node in self._by_address.values():
            await node.close()
        self._topology.is_stale = True

    async def nodes(self) -> Sequence[Node]:
        await self._ensure_open_here()
        await self._refresh(self._deadline())
        return [self._node_at(address) for address in self._topology.masters]

    async def run_each(self, names: Sequence[str], commands: Sequence[Command]) -> list[Any]:
        answers = await self.run_units(names, [(command,) for command in commands])
        return [answer for (answer,) in answers]

    async def run_units(
        self, names: Sequence[str], units: Sequence[Sequence[Command]]
    ) -> list[list[Any]]:
        await self._ensure_open_here()
        topology, deadline = self._topology, self._deadline()
        slots = [topology.slot_of(name) for name in names]
        answers: list[list[Any]] = [[] for _ in units]
        asking: dict[int, Address] = {}
        pending: Sequence[int] = range(len(units))
        for _ in range(_REDIRECTIONS):
            await self._refresh(deadline)
            parts: dict[Address | None, list[int]] = {}
            for index in pending:
                owner = asking.get(index) or topology.owner_of(slots[index])
                parts.setdefault(owner, []).append(index)
            runs = [
                self._run_part(owner, part, units, asking, answers, deadline)
                for owner, part in parts.items()
            ]
            await (asyncio.gather(*runs) if len(runs) > 1 else runs[0])
            asking = {}
            pending = [
                index for index in pending if self._follow(index, answers[index], asking, slots)
            ]
            if not pending:
                break
        return answers

    async def _run_part(
        self,
        owner: Address | None,
        part: Sequence[int],
        units: Sequence[Sequence[Command]],
        asking: Mapping[int, Address],
        answers: list[list[Any]],
        deadline: float | None,
    ) -> None:
        """Run the units with these indexes at one node, and set their answers."""
        commands: list[Command] = []
        for index in part:
            # A node that takes over a slot serves it only to those who were sent there.
            commands += [("ASKING",), *units[index]] if index in asking else units[index]
        try:
            found = iter(await self._node_for(owner).run(commands, deadline))
        except KvwrapError as error:
            if owner is not None:
                self._topology.postpone(owner)
            for index in part:
                answers[index] = [error] * len(units[index])
            return
        for index in part:
            if index in asking:
                next(found)
            answers[index] = [next(found) for _ in units[index]]

    def _follow(
        self,
        index: int,
        answers: Sequence[Any],
        asking: dict[int, Address],
        slots: Sequence[int],
    ) -> bool:
        """Return True if a node has said where these commands are to be sent instead."""
        for answer in answers:
            if isinstance(answer, self._redirected):
                asked = asking.get(index) or self._topology.owner_of(slots[index])
                assert asked is not None  # nobody else has answered
                address = node_address(answer.host, answer.port, asked)
                if isinstance(answer, self._moved):
                    self._topology.move(slots[index], address)
                else:
                    asking[index] = address
                return True
            if isinstance(answer, self._outdated):
                self._topology.is_stale = True
        return False

    def _node_for(self, owner: Address | None) -> Node:
        if owner is None:
            self._topology.is_stale = True
            raise StoreUnavailable(
                f"no node of the cluster of {self._options.product} has the key's slot: check the "
                "cluster with `CLUSTER INFO`",
                store=self._store,
            )
        return self._node_at(owner)

    def _node_at(self, address: Address) -> Node:
        node = self._by_address.get(address)
        if node is None:
            node = self._by_address[address] = self._make_node(
                partial(self._make_pool, address), str(address), is_node=True
            )
        return node

    # -- the topology ------------------------------------------------------------------

    async def _refresh(self, deadline: float | None) -> None:
        """Ask a node for the topology, if it is outdated."""
        if not self._topology.is_stale:
            return
        loop = asyncio.get_running_loop()
        async with self._locks.setdefault(loop, asyncio.Lock()):
            if not self._topology.is_stale:
                return
            error: KvwrapError | None = None
            for address in self._topology.to_ask():
                latest = loop.time() + _PATIENCE
                try:
                    (answer,) = await self._node_at(address).run(
                        [("CLUSTER SLOTS",)], latest if deadline is None else min(latest, deadline)
                    )
                    if self._topology.update(self.checked_answer(answer), address):
                        break
                    error = self.wrong_answer()
                except KvwrapError as failure:
                    error = failure
                self._topology.postpone(address)
            else:
                assert error is not None
                raise error
        await self._leave_others()

    async def _leave_others(self) -> None:
        """Close the connections to nodes that have no keys, and forget those that are gone."""
        masters = set(self._topology.masters)
        for address, node in list(self._by_address.items()):
            if address not in masters and node.idle:
                await node.close()
                if node.is_clean and not self._topology.contains(address):
                    self._by_address.pop(address, None)

    def _deadline(self) -> float | None:
        if self._timeout is None:
            return None
        return asyncio.get_running_loop().time() + self._timeout
