"""Stale entries: over for users, and kept for when their value cannot be computed again.

Such an entry has a *stale part*: the last seconds of its life at rest, in which it is over for
users. It stands in an annotation of the codec, in milliseconds. The *user's expiry* is the
expiry in the header minus the stale part. So whatever moves the expiry in the header also
moves the user's, and encryption seals both.

The annotation is in front of the serializer's step, so that the steps of all layers are in front
of it. Layers and the backend know nothing of stale parts. `UserView` hides stale entries for the
methods of a store.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from kvwrap.core import codec
from kvwrap.core.capability import Capabilities
from kvwrap.core.changes import Listener, Scope, Subscription
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.masking import Mask
from kvwrap.core.optimistic import touch_by_writing
from kvwrap.core.primitives import Collection, Origin, Primitives
from kvwrap.core.randomness import new_version
from kvwrap.core.tagging import split_snapshot, with_snapshot
from kvwrap.core.ttl import LATEST

_LENGTH = 6
_MARK = codec.annotation(codec.STALE_PART, bytes(_LENGTH))[:-_LENGTH]


def with_stale_part(entry: Entry, seconds: float) -> Entry:
    """Return the entry, kept for this many seconds after its expiry, which is the user's."""
    expires_at = entry.expires_at
    if expires_at is not None:
        kept_until = min(expires_at + seconds, LATEST)
        seconds, expires_at = kept_until - expires_at, kept_until
    milliseconds = ceil(min(seconds, LATEST) * 1000)
    steps = _MARK + milliseconds.to_bytes(_LENGTH, "big") + entry.codec
    return Entry(entry.body, steps, entry.created_at, expires_at, entry.version)


def stale_part(steps: bytes) -> float:
    """Return the stale part in a codec, in seconds; 0 without one."""
    if _MARK not in steps:
        return 0.0
    data = codec.find_annotation(steps, codec.STALE_PART)
    return int.from_bytes(data, "big") / 1000 if data is not None and len(data) == _LENGTH else 0.0


def user_expiry(entry: Entry) -> float | None:
    """Return the user's expiry of an entry, in Unix seconds; `None` is never."""
    if entry.expires_at is None:
        return None
    return entry.expires_at - stale_part(entry.codec)


def is_stale(entry: Entry, now: float) -> bool:
    """Return True if an entry that is alive at rest is over for users."""
    part = stale_part(entry.codec)
    return part > 0 and entry.expires_at is not None and entry.expires_at - part <= now


def like(entry: Entry, model: Entry) -> Entry:
    """Return an entry that replaces `model` and keeps its life: with its stale part and tags."""
    data = codec.find_annotation(model.codec, codec.STALE_PART)
    if data is not None:
        entry = entry.with_body(entry.body, codec.annotation(codec.STALE_PART, data) + entry.codec)
    snapshot = split_snapshot(model.codec)[0]
    return entry if snapshot is None else with_snapshot(entry, snapshot)


class UserView(Mask):
    """The primitives of a store as its users see it: stale entries are missing.

    Args:
        store: The store.
    """

    def __init__(self, store: Primitives) -> None:
        self.inner = store

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def clock(self) -> Clock:
        return self.inner.clock

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    async def ping(self) -> None:
        await self.inner.ping()

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
        return await self.inner.subscribe(scope, listener)

    def trace(self, collection: Collection, key: str) -> tuple[Origin, ...]:
        return self.inner.trace(collection, key)

    def is_masked(self, entry: Entry, collection: Collection, key: str) -> bool:
        return is_stale(entry, self.inner.clock.time())

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        """Set new expiry times: of entries with a stale part the user's, and they keep it."""
        found = await self._peek(collection, keys)
        has_part = [
            (entry := found.get(key)) is not None and stale_part(entry.codec) > 0 for key in keys
        ]
        touched = dict.fromkeys(keys, False)
        expires_by_key = dict(zip(keys, expires, strict=True))
        ordinary = [key for key, has in zip(keys, has_part) if not has]
        if ordinary:
            flags = await self.inner.touch(
                collection, ordinary, [expires_by_key[key] for key in ordinary]
            )
            touched.update(zip(ordinary, flags))
        kept = [key for key, has in zip(keys, has_part) if has]
        if kept:
            flags = await touch_by_writing(
                self,
                collection,
                kept,
                [expires_by_key[key] for key in kept],
                _renewed,
                owner=self.name,
            )
            touched.update(zip(kept, flags))
        return [touched[key] for key in keys]


def _renewed(entry: Entry, expires_at: float | None) -> Entry:
    if expires_at is not None:
        expires_at = min(expires_at + stale_part(entry.codec), LATEST)
    return entry.with_expiry(expires_at, new_version())
