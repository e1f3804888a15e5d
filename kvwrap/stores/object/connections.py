"""The driver's stores, and the translation of its errors."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from kvwrap.errors import (
    AccessDenied,
    ConfigurationError,
    KvwrapError,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
)
from kvwrap.stores.object.bucket import MISSING_BUCKET, Bucket, code_of, driver, status_of
from kvwrap.stores.object.deletions import http
from kvwrap.stores.object.options import ObjectOptions
from kvwrap.stores.shared.client import Driver
from kvwrap.stores.shared.urls import endpoint_servers

_NO_LIMIT: Final = timedelta(days=1)
"""The time of a request, for a store without a limit: the driver has one of 30 seconds."""
_LOGIN: Final = frozenset(
    {
        "AuthenticationFailed",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "NoAuthenticationInformation",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_FULL: Final = frozenset(
    {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "AccountIsDisabled"}
)
_TOO_LARGE: Final = frozenset({"EntityTooLarge", "RequestBodyTooLarge"})
_DENIED: Final = frozenset({401, 403})
_BUSY: Final = frozenset({429, 503})

_LAST_WAIT: Final = 0.05
"""Seconds that the end of the process waits for the driver's threads."""
_LONGEST_LAST_WAIT: Final = 1.0
"""The same on a loaded machine, where they may wait for a processor."""
_USERS: Final[list[int]] = []
"""The process that used the driver first. Its threads do not exist in one that was forked."""


class ObjectStorage(Driver[Bucket]):
    """Makes stores of the driver, or uses one of the user's.

    Args:
        options: The bucket, and a store of the user's or None.
    """

    def __init__(self, options: ObjectOptions) -> None:
        self._options = options
        self.server = options.server
        self.servers = endpoint_servers(options.endpoint)
        http()  # an installation without it is told at once

    async def connect(self) -> Bucket:
        if not _USERS:
            _USERS.append(os.getpid())
            # A thread that has just given its answer would end the process by a signal, if it
            # finds the interpreter ending.
            atexit.register(_wait_for_threads)
        if [os.getpid()] != _USERS:
            raise StoreUnavailable(
                "the driver of ObjectStore has threads, and works in no process that was forked "
                "after its first use: fork before that, or start processes by `spawn`"
            )
        timeout = self._options.timeout
        patience = _NO_LIMIT.total_seconds() if timeout is None else timeout * 0.6
        return Bucket(self._options.client or self._make(), patience)

    def _make(self) -> Any:
        options, stores = self._options, driver("obstore.store")
        timeout = options.timeout
        limit = _NO_LIMIT if timeout is None else timedelta(seconds=timeout)
        client: dict[str, Any] = {
            "allow_http": (options.endpoint or "").startswith("http://"),
            "timeout": limit,
            "connect_timeout": limit,
        }
        if options.ca is not None:
            client["root_certificate"] = Path(options.ca).read_bytes()
        # A lost answer must not repeat a write unseen.
        common: Mapping[str, Any] = {"client_options": client, "retry_config": {"max_retries": 0}}
        given = {"endpoint": options.endpoint, "region": options.region}
        place = options.place
        if place.service == "s3":
            given.update(access_key_id=place.username, secret_access_key=place.password)
            make = stores.S3Store
        else:
            given.update(account_name=place.username, account_key=place.password)
            make = stores.AzureStore
        arguments = {name: value for name, value in given.items() if value is not None}
        try:
            return make(place.bucket, **arguments, **common)
        except driver("obstore.exceptions").BaseError as error:
            # The driver's text may quote a part of the configuration.
            raise ConfigurationError(
                f"the options of {self.server} must be what the driver accepts; it refused them "
                f"({type(error).__name__}): check the bucket, the endpoint, and the credentials "
                "in the URL or in the environment"
            ) from None

    async def disconnect(self, client: Bucket) -> None:
        """Do nothing: the connections are closed when the driver's store is no longer used."""

    def abandon(self, client: Bucket, loop: asyncio.AbstractEventLoop) -> None:
        """Do nothing: the driver's connections belong to no event loop."""

    def translate(self, error: Exception) -> KvwrapError | None:
        known = driver("obstore.exceptions")
        if isinstance(error, http().ClientError):
            return self._unreachable(type(error).__name__)
        if not isinstance(error, known.BaseError | FileNotFoundError):
            return None
        status, code = status_of(error), code_of(error)
        reason = code or (f"status {status}" if status else type(error).__name__)
        if code in MISSING_BUCKET:
            return StoreUnavailable(
                f"there is no {self.server} ({reason}): create it, which the store does not"
            )
        if code in _LOGIN:
            return StoreUnavailable(
                f"{self.server} refuses the credentials ({reason}): check those in the URL or in "
                "the environment"
            )
        if status in _DENIED:
            return AccessDenied(
                f"{self.server} does not permit this account to do so ({reason}): extend its policy"
            )
        if status in _BUSY:
            return StoreUnavailable(
                f"{self.server} is asked too much of, or failed ({reason}): try again, for which "
                "Retry is made"
            )
        if code in _FULL:
            return StoreFull(f"{self.server} has no space left ({reason}): free some")
        if code in _TOO_LARGE:
            return ValueTooLarge(
                f"an entry must fit into an object that {self.server} takes in one request "
                f"({reason}). It was not written: store smaller values"
            )
        if status is not None:
            return StoreUnavailable(f"{self.server} refused the request ({reason})")
        if "kind: Timeout" in str(error):
            return StoreTimeout(
                f"{self.server} did not answer in time: check the network, or give the store a "
                "longer timeout"
            )
        if "configured region" in str(error):
            return StoreUnavailable(f"{self.server} is in another region: give the store its own")
        return self._unreachable(reason)

    def _unreachable(self, reason: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self.server} cannot be reached ({reason}): check the endpoint, whether it has TLS "
            "(https://), its certificate, the region, the credentials and the network"
        )


def _wait_for_threads() -> None:
    deadline = time.monotonic() + _LONGEST_LAST_WAIT
    time.sleep(_LAST_WAIT)
    while _has_busy_threads() and time.monotonic() < deadline:
        time.sleep(_LAST_WAIT)


def _has_busy_threads() -> bool:
    """Return True if another thread of this process runs or waits for a processor.

    Only Linux tells. The driver's threads are not Python's, which knows nothing of them.
    """
    own = str(threading.get_native_id())
    for thread in Path("/proc/self/task").glob("*/stat"):
        with suppress(OSError):  # it has ended
            state = thread.read_bytes().rpartition(b") ")[2][:1]
            if state == b"R" and thread.parent.name != own:
                return True
    return False
