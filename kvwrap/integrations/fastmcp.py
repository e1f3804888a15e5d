"""Storage for FastMCP: encrypted, shared between replicas, with keys that rotate."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from kvwrap.builder import stack
from kvwrap.config.reader import store_from_url
from kvwrap.core.optional import need
from kvwrap.core.store import Store
from kvwrap.core.validation import checked_flag, checked_prefix
from kvwrap.errors import ConfigurationError, CorruptEntry, DecryptionError, StoreUnavailable
from kvwrap.integrations.shared.best_effort import BestEffort
from kvwrap.keyring.source import KeySource
from kvwrap.layers.base import Around, Call

if TYPE_CHECKING:
    from fastmcp.server.auth import TokenVerificationError
else:
    TokenVerificationError = need(
        "fastmcp.server.auth", extra="fastmcp", wanted_by=__name__
    ).TokenVerificationError

T = TypeVar("T")

_PUBLIC = b"kvwrap.integrations.fastmcp"
"""Hashes names where no secret was given: random names cannot be found out from their hashes."""


class StorageUnavailable(StoreUnavailable, TokenVerificationError):
    """The storage failed, so it is not known whether a token is valid."""


class LoginErrors(Around):
    """Raises failures of the storage as `StorageUnavailable`, which FastMCP knows.

    FastMCP takes every other error for an invalid token, and answers with status 401.
    """

    async def around(self, call: Call[T]) -> T:
        try:
            return await call()
        except (StoreUnavailable, DecryptionError, CorruptEntry) as error:
            raise StorageUnavailable(
                f"{type(error).__name__}: {error.message}",
                store=error.store,
                collection=error.collection,
                succeeded=error.succeeded,
            ) from error


def storage(
    backend: str | Store,
    keyring: KeySource,
    *,
    name: str = "fastmcp",
    names_secret: bytes | str | None = None,
    required: bool = True,
) -> Store:
    """Return storage for one FastMCP server, the same in all of its replicas.

    Values are encrypted. Keys are hashed, since some are authorization codes. The storage is for
    `OAuthProxy(client_storage=)`, `FastMCP(session_state_store=)`, and with `required=False` for
    `ResponseCachingMiddleware(cache_storage=)` and `EventStore(storage=)`. It opens itself at its
    first use; `async with storage:` in the server's lifespan closes it. FastMCP gives its sessions
    no expiry: put `stack().clamp_ttl(default=…)` over the storage that keeps them.

    Args:
        backend: URL of the store that all replicas share, or the store.
        keyring: The keys; `Keyring.from_callable` takes up changes while the server runs.
        name: The server's name, where several share a backend; without `/`. Entries are in
            collections that begin with it, and are bound to it. They are not found under another
            name.
        names_secret: Secret of the hashes of keys, at least 16 bytes. It cannot rotate. Without
            one, somebody who reads the backend can test whether a name that they guess is in
            it, such as the URL of a client's metadata, and still finds out no code or token.
        required: False makes a read that fails a miss, and drops a write that fails, also for
            entries that do not decrypt: for caches and events, without which a server can work.

    A required storage is for what decides who is logged in. Calls that fail are attempted three
    times. Then they raise `StorageUnavailable`, also where an entry is corrupt or does not
    decrypt. FastMCP answers it with status 500 and not with 401, so nobody has to log in again
    because of an outage, or of a replica that does not have a new key yet. A backend that is
    down is tried every five seconds.

    Raises:
        ConfigurationError: No store has such a URL, or an argument cannot work.
    """
    checked_flag(required, "required")
    if "/" in checked_prefix(name, "name"):
        raise ConfigurationError(
            f"`name` must have no '/', which separates it from FastMCP's collections; got {name!r}"
        )
    layers = (
        stack(LoginErrors() if required else BestEffort())
        .hash_keys(_PUBLIC if names_secret is None else names_secret)
        .encrypt(keyring, context=f"fastmcp/{name}".encode())
        .prefix_collection(f"{name}/")
    )
    if required:
        layers = layers.retry()
    store = store_from_url(backend) if isinstance(backend, str) else backend
    return layers.circuit_breaker(open_for=5).over(store)
