"""The changes that JetStream tells, by a consumer of the bucket's stream."""

from __future__ import annotations

import asyncio
import base64
import binascii
from contextlib import suppress
from contextvars import Context
from typing import Any, Final

from kvwrap.core.changes import ChangeKind
from kvwrap.core.deadlines import time_limit
from kvwrap.errors import KvwrapError
from kvwrap.stores.nats.bucket import DROPPED, NAME, Bucket
from kvwrap.stores.nats.connections import NATS
from kvwrap.stores.nats.subjects import Subjects
from kvwrap.stores.shared.feed import Line

_DELETIONS: Final = ("DEL", "PURGE")
_ASK_AGAIN: Final = 0.1
"""Seconds after which the server is asked again how far it is."""


class NATSLink:
    """Hears all messages of a bucket, without their values, over a connection of its own.

    The server counts what it sends to the consumer, so that a missing message is noticed: then the
    link is made again. What a new one has missed is told as lost.

    Args:
        feed: What the changes are told to.
        nats: The servers and the login.
        subjects: The subjects of the bucket.
    """

    resumes = False

    def __init__(self, feed: Line, nats: NATS, subjects: Subjects) -> None:
        self._feed = feed
        self.server = nats.server
        self._nats = nats
        self._subjects = subjects
        self._bucket: Bucket | None = None
        self._subscription: Any = None
        self._consumer = ""
        self._heard = 0  # the revision of the last message
        self._count = 0  # of messages that the consumer was sent
        self._progressed = asyncio.Event()

    async def connect(self) -> bool:
        """Connect, and let the server send every message from now on."""
        try:
            bucket = self._bucket = await self._nats.connect_link(self._feed.cut)
            inbox = bucket.connection.new_inbox()
            self._subscription = await bucket.connection.subscribe(inbox, cb=self._hear)
            self._count = 0
            self._heard = await bucket.last_revision()
            self._consumer = await bucket.consume(inbox, self._heard + 1)
        except KvwrapError:
            raise
        except Exception as error:
            raise self._nats.translate(error) or error from error
        return False

    async def _hear(self, message: Any) -> None:
        place = message.metadata.sequence
        if place.consumer != self._count + 1:
            self._feed.cut()
            return
        self._count, self._heard = place.consumer, place.stream
        self._progressed.set()
        headers = message.headers or {}
        if DROPPED in headers:
            self._feed.lose()
            return
        is_gone = headers.get("KV-Operation") in _DELETIONS or "Nats-Marker-Reason" in headers
        names = self._names(message.subject, headers.get(NAME, ""))
        if names is not None:
            self._feed.tell(ChangeKind.REMOVED if is_gone else ChangeKind.PUT, *names)
        elif self._subjects.is_hashed(message.subject):  # of a message that the server wrote
            self._feed.lose()

    def _names(self, subject: str, name: str) -> tuple[str | None, str] | None:
        """Return the collection and key of a message; None for one of another program."""
        with suppress(binascii.Error):
            parsed = self._subjects.parse(subject, base64.b64decode(name))
            return None if parsed is None else parsed[:2]
        return None

    async def ping(self) -> None:
        """Wait until every message that the bucket has was told."""
        bucket = self._bucket
        assert bucket is not None
        try:
            while True:
                # Of what was sent last, the message may be gone: then it counts as sent.
                is_last = not await bucket.has_revisions_from(self._heard + 1)
                if is_last and await bucket.sent_to(self._consumer) <= self._count:
                    return
                self._progressed.clear()
                with suppress(TimeoutError), time_limit(_ASK_AGAIN):
                    await self._progressed.wait()
        except KvwrapError:
            raise
        except Exception as error:
            raise self._nats.translate(error) or error from error

    async def close(self) -> None:
        """Disconnect. The server ends the consumer by itself."""
        subscription, self._subscription = self._subscription, None
        bucket, self._bucket = self._bucket, None
        if bucket is None:
            return
        if self._nats.is_own:
            # The driver leaves tasks behind if it is cancelled halfway.
            closing = asyncio.create_task(self._nats.disconnect(bucket), context=Context())
            try:
                await asyncio.shield(closing)
            except asyncio.CancelledError:
                await closing
                raise
        elif subscription is not None and not bucket.connection.is_closed:
            await subscription.unsubscribe()
