"""No stale fill, in any order in which the calls can be served.

The far store logs every change at the moment at which it takes effect. A read must
return a state at least as new as the newest change that had been acknowledged when it
began. When all actions have ended, the usable copies in the near store equal the far store.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kvwrap import MemoryStore, ReadThrough, StoreUnavailable
from kvwrap.core.serializer import JSON
from tests.conftest import SOAK
from tests.layers.interleaving import GatedStore, World, every_order, settle, some_orders


class GatedNear(GatedStore):
    """A gated store that is looked up at once."""

    look_up = MemoryStore.look_up


class OpenNear(GatedNear):
    """A near store that is written at once, too; removals wait."""

    write_one = MemoryStore.write_one


class Tiers(World):
    """A near and a far store, both gated, and actors that check what they read.

    Args:
        steps: The actors by name, each as the steps that it takes.
        near: Gates and failures of the near store.
        far: Gates and failures of the far store.
        filled: True if the near store has the initial values at the beginning.
        at_once: "looked up" for a near store that callers wait for, as for one that answers at
            once; "written" for one that is filled at once.
        options: Arguments of the layer.
    """

    def __init__(
        self,
        steps: dict[str, list[tuple[Any, ...]]],
        near: dict[str, Any] | None = None,
        far: dict[str, Any] | None = None,
        filled: bool = False,
        at_once: str = "",
        **options: Any,
    ) -> None:
        super().__init__()
        self.steps = steps
        self.filled = filled
        gates = {"before": "write remove drop", "after": "read"}
        kind = {"": GatedStore, "looked up": GatedNear, "written": OpenNear}[at_once]
        self.near = kind(self.stage, "near", **(gates if near is None else near))
        gates = {"before": "read write remove drop", "after": "read write remove drop"}
        self.far = GatedStore(self.stage, "far", **(gates if far is None else far))
        options.setdefault("coherence", "ttl")
        self.store = ReadThrough(lambda: self.near, **options).over(self.far)
        self.log: dict[str, list[Any]] = {"a": [None], "b": [None]}
        self.acknowledged = dict.fromkeys(self.log, 0)

    async def begin(self) -> None:
        self.far.on_effect = self._took_effect
        self.stage.is_open = True
        near, self.near.failing = self.near.failing, []
        far, self.far.failing = self.far.failing, []
        await self.store.put_many(list(self.log), ["a0", "b0"])
        if self.filled:
            await self.store.get_many(list(self.log))
        self.stage.is_open = False
        self.near.failing, self.far.failing = near, far
        self.acknowledged = dict.fromkeys(self.log, 1)

    def _took_effect(self, call: str, keys: Any, entries: Any) -> None:
        if call == "write":
            for key, entry in zip(keys, entries, strict=True):
                self.log[key].append(JSON.loads(entry.body))
        elif call == "remove":
            for key in keys:
                self.log[key].append(None)

    def actors(self) -> dict[str, Callable[[], Awaitable[None]]]:
        def actor(steps: list[tuple[Any, ...]]) -> Callable[[], Awaitable[None]]:
            async def act() -> None:
                for step in steps:
                    await getattr(self, step[0])(*step[1:])

            return act

        return {name: actor(steps) for name, steps in self.steps.items()}

    # The steps of actors.

    async def get(self, *keys: str) -> None:
        floor = dict(self.acknowledged)
        try:
            values = await self.store.get_many(keys)
        except StoreUnavailable:
            return
        for key, value in zip(keys, values, strict=True):
            log = self.log[key]
            newest = max((i for i, logged in enumerate(log) if logged == value), default=-1)
            assert newest >= floor[key], f"{key} is {value} after {log[floor[key]]}"

    async def put(self, key: str, value: Any) -> None:
        try:
            await self.store.put(key, value)
        except StoreUnavailable:
            return
        self._acknowledge(key, value)

    async def put_many(self, *pairs: tuple[str, Any]) -> None:
        keys, values = zip(*pairs, strict=True)
        await self.store.put_many(keys, values)
        for key, value in pairs:
            self._acknowledge(key, value)

    async def put_elsewhere(self, key: str, value: Any) -> None:
        """Write past the cache, as another process does."""
        await self.far.put(key, value)
        self._acknowledge(key, value)

    async def drop_elsewhere(self) -> None:
        await self.far.destroy()
        for key in self.log:
            self._acknowledge(key, None)

    async def delete(self, key: str) -> None:
        await self.store.delete(key)
        self._acknowledge(key, None)

    async def drop(self) -> None:
        await self.store.destroy_collection(None)
        for key in self.log:
            self._acknowledge(key, None)

    async def clear(self, key: str) -> None:
        await self.store.delete_where(prefix=key)
        self._acknowledge(key, None)

    async def destroy(self) -> None:
        await self.store.destroy()
        for key in self.log:
            self._acknowledge(key, None)

    async def swap(self, key: str, value: Any) -> None:
        """Replace the value by compare-and-put, until that succeeds."""
        while True:
            current = await self.store.get_versioned(key)
            if current is None:
                succeeded = await self.store.put_if_absent(key, value)
            else:
                succeeded = await self.store.compare_and_put(key, value, current.version)
            if succeeded:
                break
        self._acknowledge(key, value)

    def _acknowledge(self, key: str, value: Any) -> None:
        log = self.log[key]
        last = max((i for i, logged in enumerate(log) if logged == value), default=0)
        self.acknowledged[key] = max(self.acknowledged[key], last)

    async def end(self) -> None:
        await settle()
        truth = {key: log[-1] for key, log in self.log.items()}
        for _ in range(2):  # the second is answered by the near store
            values = await self.store.get_many(list(truth))
            assert dict(zip(truth, values, strict=True)) == truth, "in the end"
            await settle()
        assert self.store.find(ReadThrough).idle, "a read, a fill or a task remains"
        assert self.store.idle
        await self.store.close()


READ = [("get", "a")]
PUT = [("put", "a", "a1")]
FEW = {"before": "write remove drop", "after": ""}
"""The near store's gates where there are many actors: its reads answer at once."""
FAR_LATE = {"before": "read", "after": "read write remove drop"}
"""The far store's gates where there are many actors: a change takes effect at once and is
answered late."""

SMALL: dict[str, Callable[[], Tiers]] = {
    "a read and a write": lambda: Tiers({"r": READ, "w": PUT}),
    "a read and a write, with a near copy": lambda: Tiers({"r": READ, "w": PUT}, filled=True),
    "a read, then another, and a write": lambda: Tiers({"r": READ + READ, "w": PUT}),
    "a read and a removal": lambda: Tiers({"r": READ, "w": [("delete", "a")]}),
    "a read and a removal, misses remembered": lambda: Tiers(
        {"r": READ, "w": [("delete", "a")]}, negative_ttl=9
    ),
    "a read of a missing key and a first write": lambda: Tiers(
        {"r": READ, "w": [("delete", "a"), ("put", "a", "a1")]},
        negative_ttl=9, far=FAR_LATE, near=FEW,
    ),
    "a read and a drop": lambda: Tiers({"r": READ, "w": [("drop",)]}),
    "a read and the deletion of a range": lambda: Tiers({"r": READ, "w": [("clear", "a")]}),
    "a read, the deletion of a range and a write": lambda: Tiers(
        {"r": READ, "v": [("clear", "a")], "w": PUT}, near=FEW, far=FAR_LATE
    ),
    "two reads and the deletion of a range that is cancelled": lambda: Tiers(
        {"r": [("get", "b", "a")], "w?": [("clear", "a")]}, filled=True
    ),
    "the near store does not remove the range": lambda: Tiers(
        {"r": READ + READ, "w": [("clear", "a"), ("clear", "b")]},
        near={"before": "write remove", "after": "", "failing": ["remove"]},
        far=FAR_LATE,
        filled=True,
    ),
    "a read and a destruction": lambda: Tiers({"r": READ, "w": [("destroy",)]}),
    "a read, and a destruction that is cancelled": lambda: Tiers({"r": READ, "w?": [("destroy",)]}),
    "a read, a destruction and a write": lambda: Tiers(
        {"r": READ, "v": [("destroy",)], "w": PUT}, near=FEW, far=FAR_LATE
    ),
    "the near store does not forget": lambda: Tiers(
        {"r": READ, "w": [("destroy",)]},
        near={"before": "write drop", "after": "read", "failing": ["drop"]},
        filled=True,
    ),
    "a read, and a writer that reads its own write": lambda: Tiers({"r": READ, "w": PUT + READ}),
    "two reads and a write": lambda: Tiers(
        {"r": READ, "s": READ, "w": PUT}, near=FEW, far=FAR_LATE
    ),
    "a read and two writes": lambda: Tiers(
        {"r": READ, "v": PUT, "w": [("put", "a", "a2")]}, near=FEW, far=FAR_LATE
    ),
    "a batch and a write": lambda: Tiers({"r": [("get", "a", "b")], "w": PUT}),
    "a batch, a read and a write": lambda: Tiers(
        {"r": [("get", "a", "b")], "s": [("get", "b")], "w": [("put", "b", "b1")]},
        near=FEW, far=FAR_LATE,
    ),
    "a read and a batch of writes": lambda: Tiers(
        {"r": [("get", "b", "a")], "w": [("put_many", ("a", "a1"), ("b", "b1"))]}
    ),
    "a read and a swap": lambda: Tiers({"r": READ, "w": [("swap", "a", "a1")]}, far=FAR_LATE),
    "two swaps": lambda: Tiers(
        {"v": [("swap", "a", "a1")], "w": [("swap", "a", "a2")]},
        filled=True, near=FEW, far=FAR_LATE,
    ),
    "a read and a write that is cancelled": lambda: Tiers({"r": READ, "w?": PUT}),
    "a read that is cancelled and a write": lambda: Tiers({"r?": READ, "w": PUT}),
    "a write, then a read, both cancelled": lambda: Tiers(
        {"w?": PUT + READ, "r": READ}, far=FAR_LATE
    ),
    "a read and a write that fails before": lambda: Tiers(
        {"r": READ, "w": PUT},
        far={"before": "read write", "after": "read", "failing": ["write"]},
    ),
    "a read and a write that fails after": lambda: Tiers(
        {"r": READ, "w": PUT},
        far={"before": "read write", "after": "read", "failing": ["write!"]},
        filled=True,
    ),
    "a removal answered late, and one cancelled": lambda: Tiers(
        {"r": READ, "v": PUT, "w?": [("put", "a", "a2")]},
        near={"before": "remove", "after": "remove"},
        far={},
    ),
    "the near store does not remove": lambda: Tiers(
        {"r": READ, "w": PUT},
        near={"before": "write remove", "after": "read", "failing": ["remove"]},
        filled=True,
    ),
    "the near store does not fill": lambda: Tiers(
        {"r": READ + READ, "w": PUT},
        near={"before": "write remove", "after": "", "failing": ["write"]},
        far=FAR_LATE,
    ),
    "the near store does not drop": lambda: Tiers(
        {"r": READ, "w": [("drop",)]},
        near={"before": "write drop", "after": "read", "failing": ["drop"]},
        filled=True,
    ),
    "the near store removes but reports a failure": lambda: Tiers(
        {"r": READ, "w": PUT + READ},
        near={"before": "write remove", "after": "read", "failing": ["remove!"]},
        far=FAR_LATE,
        filled=True,
    ),
    "a read that waits for its fill, and a write": lambda: Tiers(
        {"r": READ, "w": PUT}, at_once="looked up"
    ),
    "a read that waits for its fill, a read and a destruction": lambda: Tiers(
        {"r": READ, "s": READ, "w": [("destroy",)]}, at_once="looked up", near=FEW, far=FAR_LATE
    ),
    "a read that fills at once, and a write": lambda: Tiers(
        {"r": READ, "w": PUT}, at_once="written"
    ),
    "a read that fills at once, another and a write": lambda: Tiers(
        {"r": READ, "s": READ, "w": PUT}, at_once="written", near=FEW, far=FAR_LATE
    ),
    "a read that fills at once, and two writes": lambda: Tiers(
        {"r": READ, "v": PUT, "w": [("put", "a", "a2")]},
        at_once="written", near=FEW, far=FAR_LATE,
    ),
    "a read that fills at once, a batch and a write": lambda: Tiers(
        {"r": READ, "s": [("get", "a", "b")], "w": PUT}, at_once="written", near=FEW, far=FAR_LATE
    ),
    "a read that fills at once, a read and a destruction": lambda: Tiers(
        {"r": READ, "s": READ, "w": [("destroy",)]}, at_once="written", near=FEW, far=FAR_LATE
    ),
    "a read that fills at once, the deletion of a range and a write": lambda: Tiers(
        {"r": READ, "v": [("clear", "a")], "w": PUT}, at_once="written", near=FEW, far=FAR_LATE
    ),
    "a read that fills at once and is cancelled, a read and a write": lambda: Tiers(
        {"r?": READ, "s": READ, "w": PUT}, at_once="written", near=FEW, far=FAR_LATE
    ),
    "a read that fills at once, a write that is cancelled, and its reader": lambda: Tiers(
        {"r": READ + READ, "w?": PUT + READ}, at_once="written", near=FEW, far=FAR_LATE
    ),
    "a near store filled at once does not remove": lambda: Tiers(
        {"r": READ + READ, "w": PUT},
        at_once="written",
        near={"before": "remove", "after": "", "failing": ["remove"]},
    ),
    "a read that fills at once and remembers misses, and a removal": lambda: Tiers(
        {"r": READ, "w": [("delete", "a")]}, at_once="written", negative_ttl=9
    ),
    "a read that is cancelled while it fills, and a write": lambda: Tiers(
        {"r?": READ, "s": READ, "w": PUT}, at_once="looked up", near=FEW, far=FAR_LATE
    ),
    "two reads of one key, the first cancelled, and a write": lambda: Tiers(
        {"r?": READ, "s": READ, "w": PUT}, near=FEW, far=FAR_LATE
    ),
    "a batch that is cancelled, a read and a write": lambda: Tiers(
        {"r?": [("get", "a", "b")], "s": [("get", "b")], "w": [("put", "b", "b1")]},
        near=FEW, far=FAR_LATE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("scenario", SMALL)
async def test_every_order(scenario: str) -> None:
    assert await every_order(SMALL[scenario]) > 10


LARGE: dict[str, Callable[[], Tiers]] = {
    "three readers, three writers": lambda: Tiers(
        {
            "r?": READ + READ,
            "s": [("get", "a", "b"), ("get", "b")],
            "t": [("get", "b", "a")],
            "u": [("put", "a", "a1"), ("get", "a"), ("put", "a", "a2"), ("get", "a")],
            "v": [("swap", "b", "b1"), ("get", "b", "a")],
            "w?": [("put_many", ("b", "b3"), ("a", "a3")), ("get", "a")],
        }
    ),
    "with removals and drops, misses remembered": lambda: Tiers(
        {
            "r": READ + READ + READ,
            "s?": [("get", "a", "b"), ("put", "b", "b1"), ("get", "b")],
            "u": [("delete", "a"), ("get", "a"), ("put", "a", "a2"), ("get", "a")],
            "w": [("drop",), ("get", "b", "a")],
            "x": [("clear", "b"), ("get", "b", "a")],
        },
        negative_ttl=9,
        ttl=60,
    ),
    "with a near store that fails": lambda: Tiers(
        {
            "r": READ + READ + READ,
            "s": [("get", "a", "b"), ("get", "b")],
            "u": [("put", "a", "a1"), ("get", "a"), ("put", "a", "a2"), ("get", "a")],
            "w?": [("put", "b", "b1"), ("get", "b", "a"), ("put", "b", "b2"), ("get", "b")],
        },
        near={
            "before": "read write remove",
            "after": "read write remove",
            "failing": ["remove", "write", "remove!", "write!", "read", "remove", "write!"],
        },
        filled=True,
    ),
    "with a far store that fails": lambda: Tiers(
        {
            "r": READ + READ + READ,
            "s": [("get", "a", "b"), ("get", "b"), ("get", "b", "a")],
            "u": [("put", "a", "a1"), ("get", "a"), ("put", "a", "a2"), ("get", "a")],
            "w?": [("put", "b", "b1"), ("get", "b", "a")],
        },
        far={
            "before": "read write",
            "after": "read write",
            "failing": ["write!", "read", "write", "read!"],
        },
        ttl=60,
        stale_if_error=60,
    ),
    "with changes by others that are told": lambda: Tiers(
        {
            "r?": READ + READ,
            "s": [("get", "a", "b"), ("get", "b"), ("get", "b", "a")],
            "u": [("put", "a", "a1"), ("get", "a")],
            "v": [("put_elsewhere", "a", "a2"), ("put_elsewhere", "b", "b2")],
            "w": [("put_elsewhere", "b", "b1"), ("get", "b"), ("drop_elsewhere",), ("get", "a")],
        },
        coherence="watch",
    ),
    "with changes by others that are told, and a near store that fails": lambda: Tiers(
        {
            "r": READ + READ + READ,
            "s": [("get", "a", "b"), ("put", "b", "b1"), ("get", "b")],
            "v": [("put_elsewhere", "a", "a1"), ("get", "a"), ("put_elsewhere", "a", "a2")],
        },
        near={
            "before": "read write remove",
            "after": "read write remove",
            "failing": ["remove", "write", "remove!", "write!", "read", "remove", "write!"],
        },
        coherence="watch",
        filled=True,
    ),
}


@pytest.mark.parametrize("scenario", LARGE)
async def test_many_orders(scenario: str) -> None:
    await some_orders(LARGE[scenario], seed=1, count=20_000 if SOAK else 400)
