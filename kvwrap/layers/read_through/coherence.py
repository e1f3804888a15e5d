"""Coherence: near copies end when the far store's backend tells that their entries changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Sequence
from math import inf
from typing import Any, Final, Literal

from kvwrap.core.capability import Capability
from kvwrap.core.changes import Change, Scope, Subscription
from kvwrap.core.concurrency import cancel_and_wait, is_running
from kvwrap.core.figures import Measured, gauge
from kvwrap.core.part import Part, parts_from, walk, why_unheard
from kvwrap.core.primitives import Collection, Primitives, QualifiedKey
from kvwrap.core.store import Store
from kvwrap.errors import AccessDenied, KvwrapError, UnsupportedOperation
from kvwrap.layers.read_through.freshness import Freshness
from kvwrap.layers.read_through.tier import Tier

_log = logging.getLogger("kvwrap.read_through")

Rung = Literal["auto", "watch", "ttl"]

RUNGS: Final[tuple[Rung, ...]] = ("auto", "watch", "ttl")

WATCHED_TTL: Final = 600.0
"""Seconds after which a copy without a ttl ends although no change was told."""

_RETRY: Final = 1.0
"""Seconds after which a subscription that failed is tried again, by the next miss."""

_FEW_NAMES: Final = 10_000

_OF_ENTRIES: Final = frozenset({"falls_back", "spreads"})
"""Layers whose second stores have entries that reads return."""


class Backend:
    """A backend that near copies come from, with the link that tells its changes.

    Attributes:
        store: The backend.
        names: What the near store calls the entries that were read, by their names there.
        most_names: The number of names from which on those without a copy are dropped.
        tried_at: When a subscription was last tried, by `Clock.monotonic`.
    """

    def __init__(self, store: Primitives) -> None:
        self.store = store
        self.names: dict[QualifiedKey, tuple[QualifiedKey, ...]] = {}
        self.most_names = _FEW_NAMES
        self.tried_at = -inf
        self._subscription: Subscription | None = None
        self._lost_at = -inf

    @property
    def heard_at(self) -> float:
        """Until when all changes were told; -infinity while changes may be missing."""
        heard_at = -inf if self._subscription is None else self._subscription.heard_at
        return heard_at if heard_at > self._lost_at or heard_at == inf else -inf

    @property
    def is_subscribed(self) -> bool:
        """False if there is no subscription, or its store was closed."""
        return self._subscription is not None and self._subscription.heard_at > -inf

    def begin(self, subscription: Subscription) -> None:
        """Take a new subscription."""
        self._subscription = subscription
        self._lost_at = -inf

    def lose(self) -> None:
        """Forget everything: changes may be missing until the link has been heard again."""
        self.names.clear()
        self._lost_at = -inf if self._subscription is None else self._subscription.heard_at

    async def close(self) -> None:
        """End the subscription."""
        subscription, self._subscription = self._subscription, None
        self.names.clear()
        if subscription is not None:
            await subscription.close()


class Coherence(Measured):
    """Hears what is changed in the far store, and tells whether near copies may be served.

    **Why no read returns what was replaced for longer than the bound:** the names of an entry
    are noted before it is read from the far store. So what changes it later ends its read in
    flight, or its copy, in the step in which it is told (`Tier.outdate`). A copy that is not
    ended was therefore current at `Subscription.heard_at`, the moment before which every
    change has been told. It is served only until `bound` seconds after that moment. Nothing
    has to be noticed in time for this: a process that was paused, or whose link is half-open,
    has not heard for longer, and asks the far store. Where changes may have been missed, all
    copies end, and nothing is kept until the link has been heard again.

    Args:
        tier: What changes the near store.
        near: The near store.
        far: The far store.
        freshness: How long copies are used.
        wanted: The rung that was asked for.
        bound: Seconds, as above.

    Attributes:
        until: Copies may be served while `Clock.monotonic` is less. Only `is_heard` moves it.
        rung: What is done: "watch" or "ttl". "auto" before it was opened.
        reason: Why "auto" became "ttl"; empty otherwise.
    """

    figures = (
        gauge("coherence.lag", "s", "Seconds since the backend was heard.", merge="max"),
        gauge(
            "coherence.watching",
            "1",
            "1 if told changes end copies, 0 if the ttl does.",
            path="is_watching",
        ),
    )

    def __init__(
        self,
        tier: Tier,
        near: Store,
        far: Primitives,
        freshness: Freshness,
        wanted: Rung,
        bound: float,
    ) -> None:
        self.rung: Rung = wanted
        self.reason = ""
        self.until = inf if wanted == "ttl" else -inf
        self.bound = bound
        self._wanted: Rung = wanted
        self._tier = tier
        self._near = near
        self._far = far
        self._freshness = freshness
        self._monotonic = far.clock.monotonic
        self._watched: dict[int, Backend] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outdated = False

    @property
    def is_watching(self) -> int:
        """1 if others' changes end copies when they are told, 0 if only the ttl does."""
        return int(self.rung == "watch")

    @property
    def lag(self) -> float | None:
        """Seconds since which changes may not have been told; `None` if that is not known.

        Infinity while there is no link, or before the first answer over it.
        """
        if self.rung != "watch" or not self._watched:
            return None
        heard_at = min(each.heard_at for each in list(self._watched.values()))
        return max(0.0, self._monotonic() - heard_at)

    @property
    def is_elsewhere(self) -> bool:
        """True if what was subscribed belongs to another event loop, so that `open` is due."""
        return self.rung == "watch" and self._loop is not asyncio.get_running_loop()

    def backends(self) -> list[Primitives]:
        """Return the backends that an entry may come from."""
        return [part for part in self._parts() if isinstance(part, Store)]

    def _parts(self) -> Iterator[Part]:
        return walk(parts_from(self._far), _OF_ENTRIES)

    def obstacle(self) -> str:
        """Return why changes cannot be heard, as far as that is known; empty if they can."""
        if self.reason:
            return self.reason
        if Capability.SHARED in self._near.capabilities:
            return (
                f"other processes may use the same {self._near.name} as near store, and put older "
                "copies there"
            )
        if any("falls_back" in part.traits for part in self._parts()):
            return (
                "in an outage a fallback answers with another store's entries, and nothing tells "
                "which copies these are"
            )
        # By "watch", each change of such a backend ends all copies, which is right and rarely fast.
        return why_unheard(self.backends(), by_name=self._wanted == "auto")

    @property
    def watches(self) -> bool:
        """True if changes are to be heard, as far as is known."""
        return self._wanted != "ttl" and not self.obstacle()

    def notes(self) -> Iterator[str]:
        """Yield the lines of `explain()` that say how others' writes become visible."""
        if self._wanted == "ttl":
            return
        if obstacle := self.obstacle():
            yield f"coherence is by ttl, since {obstacle}"
        else:
            yield (
                "coherence is by watch: another process's write is seen when it is told, after at "
                f"most {self.bound:g} s"
            )

    async def open(self) -> None:
        """Choose a rung, and subscribe.

        Raises:
            UnsupportedOperation: A backend does not tell changes, and that was asked for.
            AccessDenied: It does not let this user hear them, and that was asked for.
        """
        if self._wanted == "ttl":
            return
        self._loop = asyncio.get_running_loop()
        self.reason = ""
        self.until = -inf
        # Of an earlier loop, in which nothing goes on.
        self._watched, self._tasks = {}, set()
        if obstacle := self.obstacle():
            if self._wanted == "watch":
                raise self._refused(obstacle)
            self._fall(obstacle)
            return
        self.rung = "watch"
        self._tier.watch = self
        if self._freshness.ttl is None and Capability.SHARED in self._far.capabilities:
            self._freshness.ttl = WATCHED_TTL
        try:
            for store in self.backends():
                await self._subscribe(self._backend(store))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End the subscriptions."""
        await cancel_and_wait(filter(is_running, self._tasks))
        watched, self._watched = self._watched, {}
        self.until = inf if self._wanted == "ttl" else -inf
        for backend in watched.values():
            await backend.close()

    # -- hits --------------------------------------------------------------------------

    def is_heard(self) -> bool:
        """Return True if copies may be served now."""
        now = self._monotonic()
        if self.until > now:
            return True
        if self.is_elsewhere:
            return False
        heard_at = min((each.heard_at for each in self._watched.values()), default=-inf)
        if heard_at == -inf:
            return False
        if self._outdated:
            self._outdated = False
            self._tier.outdate_everything()
        # A store in this process has always been heard, unless it is closed.
        self.until = min(heard_at, now) + self.bound
        return self.until > now

    # -- reads of the far store --------------------------------------------------------

    def begin(self, collection: Collection, keys: Sequence[str]) -> bool:
        """Note the names of keys that are about to be read from the far store.

        Returns True if what is read may be kept.
        """
        if self.is_elsewhere:
            return False
        may_keep = True
        for key in keys:
            name = (collection, key)
            for store, place, far_key in self._far.trace(collection, key):
                backend = self._backend(store)
                if backend.heard_at == -inf:
                    may_keep = False
                    self._try_again(backend)
                    continue
                known = backend.names.setdefault((place, far_key), (name,))
                if name not in known:
                    backend.names[place, far_key] = (*known, name)
                if len(backend.names) > backend.most_names:
                    backend.most_names = len(backend.names) * 2
                    self._start(self._drop_names(backend))
        return may_keep

    def _backend(self, store: Primitives) -> Backend:
        backend = self._watched.get(id(store))
        if backend is None:
            backend = self._watched[id(store)] = Backend(store)
            self.until = -inf
        return backend

    # -- changes -----------------------------------------------------------------------

    def _tell(self, backend: Backend, change: Change) -> None:
        if change.key is None:
            self._lose(backend)
        else:
            names = backend.names.pop((change.collection, change.key), None)
            if names is not None:
                self._tier.outdate(names)

    def _lose(self, *watched: Backend) -> None:
        self.until = -inf
        for backend in watched:
            backend.lose()
        if self._freshness.stale_if_error:
            # Until the link is back, copies are not fresh, but better than an error.
            self._tier.abandon_reads()
            self._outdated = True
        else:
            self._tier.outdate_everything()

    # -- subscriptions -----------------------------------------------------------------

    def _try_again(self, backend: Backend) -> None:
        now = self._monotonic()
        if not backend.is_subscribed and now >= backend.tried_at + _RETRY:
            backend.tried_at = now
            self._start(self._subscribe_quietly(backend))

    async def _subscribe(self, backend: Backend) -> None:
        backend.tried_at = self._monotonic()
        await backend.close()
        if obstacle := why_unheard((backend.store,), by_name=self._wanted == "auto"):
            if self._wanted == "watch":
                raise self._refused(obstacle)
            self._fall(obstacle)
            return
        self.until = -inf
        # What the near store has may be of an earlier process, or of an earlier link.
        await self._tier.invalidate_everything()
        try:
            scope = Scope(bound=self.bound, reserved=True)
            subscription = await backend.store.subscribe(
                scope, lambda change: self._tell(backend, change)
            )
        except (UnsupportedOperation, AccessDenied) as error:
            if self._wanted == "watch":
                raise
            self._fall(str(error))
            _log.warning("near copies are coherent by their ttl alone: %s", error)
        except KvwrapError as error:
            # It is tried again; until then there are no copies.
            _log.info("changes of %s are not heard yet (%s)", backend.store.name, error)
        else:
            if self._watched.get(id(backend.store)) is backend and not backend.is_subscribed:
                backend.begin(subscription)
            else:
                await subscription.close()

    async def _subscribe_quietly(self, backend: Backend) -> None:
        try:
            await self._subscribe(backend)
        except KvwrapError as error:
            _log.warning("no near copies are kept of %s: %s", backend.store.name, error)

    def _refused(self, obstacle: str) -> UnsupportedOperation:
        return UnsupportedOperation(
            f"coherence by watch must have backends that tell changes, but {obstacle}: use "
            'coherence="auto" or "ttl", and a ttl',
            store=self._near.name,
        )

    def _fall(self, reason: str) -> None:
        self.rung, self.reason, self.until = "ttl", reason, inf
        self._tier.watch = None

    async def _drop_names(self, backend: Backend) -> None:
        """Drop the names of entries that the near store has evicted."""
        for name, aliases in await self._tier.without_copies(backend.names):
            backend.names.pop(name, None)
            # A copy that was filled meanwhile ends too, since its changes would not be found.
            self._tier.outdate(aliases)
        backend.most_names = max(_FEW_NAMES, 2 * len(backend.names))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
