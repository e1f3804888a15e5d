"""The messages of a bucket, by requests to the leader of its stream.

The last message of a subject is the value of a key, and its sequence number the revision. The
driver's own reads parse each answer with an email parser, and take twice the time of a request.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import orjson

from kvwrap.errors import AccessDenied, ConfigurationError

WRONG_REVISION: Final = 10071
NO_MESSAGE: Final = 10037
NO_STREAM: Final = 10059
NAME: Final = "Kvwrap-Name"
"""The header with the names of a subject that has a hash of one, for those who watch."""
DROPPED: Final = "Kvwrap-Dropped"
"""The header of the message that tells that entries were purged."""
OTHER_STREAM: Final = 10058

_MARKERS: Final = (b"KV-Operation: DEL", b"KV-Operation: PURGE", b"Nats-Marker-Reason")
_NO_LEADER: Final = 10008
DELETION_SECONDS: Final = 86_400
"""Seconds after which the server frees the message that says that a key was deleted."""
_ELECTION_POLL: Final = 0.05
"""Seconds between requests while a leader is elected."""


class Message(NamedTuple):
    """The last message of a subject.

    Attributes:
        revision: Its sequence number.
        data: Its bytes; None if it says that the key was deleted.
    """

    revision: int
    data: bytes | None


class Refused(Exception):
    """JetStream refused a request.

    Attributes:
        code: The number of the error, as JetStream documents it.
        description: Its text, which names streams and limits, and no data.
    """

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"{description} ({code})")
        self.code = code
        self.description = description


class Bucket:
    """A bucket over a connection of the driver.

    Args:
        connection: A `nats.aio.client.Client`.
        name: Name of the bucket.
        no_responders: The driver's error for a request that nobody got.
        patience: Seconds to wait for an answer, and for a leader.
        denied: Subjects that the server did not let the account use, of which it tells the
            connection and not the request. A request without an answer looks there.

    Attributes:
        expires: Whether the server frees messages after a time that each has.
    """

    def __init__(
        self,
        connection: Any,
        name: str,
        *,
        no_responders: type[Exception],
        patience: float,
        denied: set[str],
    ) -> None:
        self.connection = connection
        self._denied = denied
        self._no_responders = no_responders
        self._patience = patience
        self.expires = False
        self._name = name
        self._stream = f"KV_{name}"

    async def ensure(self, replicas: int, before_creation: Callable[[], None]) -> None:
        """Create the bucket, unless it exists.

        Args:
            replicas: Number of servers that keep it.
            before_creation: Called if it does not exist; raises an error to not create it.

        Raises:
            ConfigurationError: The stream of this name is not a bucket.
            Refused: It cannot be created.
        """
        subjects = [f"$KV.{self._name}.>"]
        try:
            found = await self._request(f"STREAM.INFO.{self._stream}")
        except Refused as refused:
            if refused.code != NO_STREAM:
                raise
            before_creation()
            # Several processes may create it at once: with the same settings that is no error.
            found = await self._request(
                f"STREAM.CREATE.{self._stream}",
                {
                    "name": self._stream,
                    "subjects": subjects,
                    "max_msgs_per_subject": 1,
                    "allow_rollup_hdrs": True,
                    "allow_msg_ttl": True,
                    "deny_delete": True,
                    "discard": "new",
                    "storage": "file",
                    "num_replicas": replicas,
                    "retention": "limits",
                    "max_age": 0,
                    "max_bytes": -1,
                    "max_msgs": -1,
                    "max_msg_size": -1,
                    "max_consumers": -1,
                },
            )
        config = found.get("config", {})
        if config.get("subjects") != subjects or config.get("max_msgs_per_subject") != 1:
            # With a longer history, an earlier value would be back when the last one expires.
            raise ConfigurationError(
                f"the stream {self._stream!r} must be a key-value bucket with a history of 1; it "
                "has other subjects or keeps more messages: give the store another bucket"
            )
        self.expires = config.get("allow_msg_ttl", False) is True

    async def get(self, subject: str) -> Message | None:
        """Return the last message of a subject, or None for a subject without one."""
        answer = await self._exchange(
            f"$JS.API.STREAM.MSG.GET.{self._stream}", b'{"last_by_subj":"%b"}' % subject.encode()
        )
        if "error" in answer:
            refused = _refused(answer)
            if refused.code == NO_MESSAGE:
                return None
            raise refused
        message = answer["message"]
        headers = message.get("hdrs")
        if headers is not None:
            text = base64.b64decode(headers)
            if any(marker in text for marker in _MARKERS):
                return Message(message["seq"], None)
        return Message(message["seq"], base64.b64decode(message.get("data", "")))

    async def publish(
        self,
        subject: str,
        data: bytes,
        *,
        revision: int | None = None,
        lifetime: int | None = None,
        is_deletion: bool = False,
        name: bytes = b"",
    ) -> bool:
        """Publish a message, which is then the last one of its subject.

        Args:
            subject: The subject.
            data: The bytes.
            revision: The revision that the subject must have; 0 for no message. None for any.
            lifetime: Seconds after which the server frees the message, where it can.
            is_deletion: True for a message that says that the key was deleted.
            name: The names of the subject, if it has a hash of them.

        Returns:
            False if the subject has another revision, and nothing was published.
        """
        headers = {}
        if revision is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(revision)
        if lifetime is not None and self.expires:
            headers["Nats-TTL"] = f"{lifetime}s"
        if is_deletion:
            headers["KV-Operation"] = "DEL"
        if name:
            headers[NAME] = base64.b64encode(name).decode()
        answer = await self._exchange(subject, data, headers or None)
        if "error" not in answer:
            return True
        refused = _refused(answer)
        if refused.code == WRONG_REVISION:
            return False
        raise refused

    async def subjects(self, pattern: str) -> list[str]:
        """Return the subjects that match a pattern and have a message, sorted.

        The server returns up to 100,000 at a time.
        """
        found: list[str] = []
        while True:
            answer = await self._request(
                f"STREAM.INFO.{self._stream}", {"subjects_filter": pattern, "offset": len(found)}
            )
            part = answer["state"].get("subjects") or {}
            found += part
            if not part or len(found) >= answer.get("total", 0):
                return sorted(found)

    async def purge(self, pattern: str, before: int | None = None) -> None:
        """Remove the messages of matching subjects; with `before`, those of lower revisions."""
        request = {"filter": pattern, **({} if before is None else {"seq": before})}
        await self._request(f"STREAM.PURGE.{self._stream}", request)

    async def drop(self, pattern: str, told_by: str) -> None:
        """Remove the messages of matching subjects, and tell so by a message of a subject."""
        try:
            await self.purge(pattern)
        finally:  # if this was cancelled, or got no answer, they may be removed
            headers = {"KV-Operation": "PURGE", DROPPED: "1"}
            if self.expires:
                headers["Nats-TTL"] = f"{DELETION_SECONDS}s"
            answer = await self._exchange(told_by, b"", headers)
        if "error" in answer:
            raise _refused(answer)

    # -- for those who watch -----------------------------------------------------------

    async def last_revision(self) -> int:
        """Return the revision of the last message that was ever in the bucket."""
        answer = await self._request(f"STREAM.INFO.{self._stream}")
        revision: int = answer["state"]["last_seq"]
        return revision

    async def has_revisions_from(self, revision: int) -> bool:
        """Return True if the bucket has a message of this revision, or of a later one."""
        wanted = {"seq": revision, "next_by_subj": f"$KV.{self._name}.>"}
        try:
            await self._request(f"STREAM.MSG.GET.{self._stream}", wanted)
        except Refused as refused:
            if refused.code != NO_MESSAGE:
                raise
            return False
        return True

    async def consume(self, inbox: str, revision: int) -> str:
        """Let the server send the messages from this revision on, without values, to a subject.

        Returns the name of the consumer, which ends when nobody is subscribed to the subject.
        """
        config = {
            "deliver_subject": inbox,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": revision,
            "ack_policy": "none",
            "headers_only": True,
            "max_deliver": 1,
            "mem_storage": True,
            "num_replicas": 1,
        }
        wanted = {"stream_name": self._stream, "config": config}
        answer = await self._request(f"CONSUMER.CREATE.{self._stream}", wanted)
        name: str = answer["name"]
        return name

    async def sent_to(self, consumer: str) -> int:
        """Return how many messages a consumer was sent."""
        answer = await self._request(f"CONSUMER.INFO.{self._stream}.{consumer}")
        sent: int = answer["delivered"]["consumer_seq"]
        return sent

    async def _request(self, path: str, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
        payload = b"" if content is None else orjson.dumps(content)
        answer = await self._exchange(f"$JS.API.{path}", payload)
        if "error" in answer:
            raise _refused(answer)
        return answer

    async def _exchange(
        self, subject: str, payload: bytes, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Send a request. Without a connection, or a leader of the stream, wait for one."""
        deadline = None
        while True:
            answer = await self._send(subject, payload, headers)
            if answer and ("error" not in answer or answer["error"].get("err_code") != _NO_LEADER):
                return answer
            now = asyncio.get_running_loop().time()
            deadline = deadline or now + self._patience
            if now >= deadline:
                if answer:
                    return answer
                raise self._no_responders if self.connection.is_connected else ConnectionError
            await asyncio.sleep(_ELECTION_POLL)

    async def _send(
        self, subject: str, payload: bytes, headers: dict[str, str] | None
    ) -> dict[str, Any]:
        """Send a request once. Returns the answer, empty if nobody got the request."""
        if not self.connection.is_connected:
            # The driver would send it later, when others may have written.
            return {}
        try:
            reply = await self.connection.request(
                subject, payload, timeout=self._patience, headers=headers
            )
        except self._no_responders:
            return {}
        except TimeoutError:
            if subject.lower() not in self._denied:  # the driver tells it so
                raise
            self._denied.discard(subject.lower())
            raise AccessDenied(
                f"the server does not permit this username to use {subject!r}: extend its "
                "permissions"
            ) from None
        answer: dict[str, Any] = orjson.loads(reply.data)
        return answer


def _refused(answer: Mapping[str, Any]) -> Refused:
    error = answer["error"]
    return Refused(error.get("err_code", 0), error.get("description", "no description"))
