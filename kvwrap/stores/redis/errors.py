"""The driver, imported when it is used, and the translation of its errors."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

from kvwrap.core.optional import need
from kvwrap.errors import (
    AccessDenied,
    CorruptEntry,
    KvwrapError,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    UnsupportedOperation,
    ValueTooLarge,
)
from kvwrap.stores.shared.tls import WHETHER_TLS, WITHOUT_TLS, has_no_tls


def driver(module: str) -> Any:
    """Import a module of the driver's package."""
    return need(module, extra="redis", wanted_by="RedisStore")


def recognized(error: Exception) -> Exception:
    """Return an answer of a cluster as the driver's error for it.

    Up to version 5 the driver recognizes these only in its cluster client.
    """
    known = driver("redis.exceptions")
    if type(error) is not known.ResponseError:
        return error
    code, _, text = str(error).partition(" ")
    classes = {
        "ASK": known.AskError,
        "MOVED": known.MovedError,
        "CLUSTERDOWN": known.ClusterDownError,
        "MASTERDOWN": known.MasterDownError,
    }
    typed: Exception = classes[code](text) if code in classes else error
    return typed


def require_driver(product: str) -> None:
    """Raise ConfigurationError, which names the extra of a product, if the driver is missing."""
    if product == "Valkey":
        need("redis", extra="valkey", wanted_by="ValkeyStore")
    else:
        driver("redis")


def translate_error(
    error: Exception, server: str, *, uses_tls: bool = False, **context: Any
) -> KvwrapError:
    """Return the error to raise for an error of the driver.

    The driver's own text is not repeated: some of its errors quote the command that failed, with
    the values.

    Args:
        error: The driver's error, which is to be the cause.
        server: What the server is, and where: its program, host and port.
        uses_tls: True if TLS was asked for.
        context: Store, collection and keys for the error to name.
    """
    known = driver("redis.exceptions")
    kind, text = type(error).__name__, str(error)
    if isinstance(error, known.TimeoutError | asyncio.TimeoutError):
        # A server without TLS waits for the end of what it takes for a command.
        place = "the network, and that this port has TLS" if uses_tls else "the network"
        return StoreTimeout(
            f"{server} did not answer in time ({kind}): check the server's load and {place}, or "
            "give the store a longer timeout",
            **context,
        )
    if isinstance(error, known.OutOfMemoryError) or text.startswith("OOM "):
        return StoreFull(
            f"{server} has reached its maxmemory and evicts no keys ({kind}): raise maxmemory, or "
            "choose a maxmemory-policy that evicts",
            **context,
        )
    if "permissions to access" in text and "key" in text:
        return AccessDenied(
            f"{server} does not permit this username to use the key ({kind}): extend the key "
            "patterns of its ACL, or use another namespace",
            **context,
        )
    if text.startswith("WRONGTYPE "):
        return wrong_type(text.removeprefix("WRONGTYPE "), **context)
    if isinstance(error, known.ReadOnlyError):
        return StoreUnavailable(
            f"{server} is a read-only replica ({kind}): connect to its master; connections are "
            "opened again, so a name is followed to another server",
            **context,
        )
    if isinstance(error, known.BusyLoadingError):
        return StoreUnavailable(
            f"{server} is loading its data into memory ({kind}): try again, for which Retry is "
            "made; connections are opened again, so a name is followed to another server",
            **context,
        )
    if isinstance(error, known.ClusterDownError | known.AskError):
        return StoreUnavailable(
            f"{server} is part of a cluster or has lost its master, and is not responsible now "
            f"({kind}): try again, for which Retry is made, and give the store the URL of a "
            "cluster (redis+cluster://…) or of Sentinels (redis+sentinel://…); connections are "
            "opened again, so a name is followed to another server",
            **context,
        )
    if is_about_scripts(error):
        return UnsupportedOperation(
            f"{server} does not permit this username to run scripts ({kind}), which removals, "
            "conditions, listings and `raw` need: grant it +@scripting",
            **context,
        )
    if isinstance(
        error, known.AuthenticationError | known.AuthorizationError | known.NoPermissionError
    ) or text.startswith(("NOAUTH", "WRONGPASS", "NOPERM")):
        return StoreUnavailable(
            f"{server} refuses this username or password ({kind}): check the login and its "
            "permissions",
            **context,
        )
    if "invalid bulk length" in text or "maximum allowed size" in text:
        return ValueTooLarge(
            f"the value is larger than proto-max-bulk-len of {server} ({kind}): raise it, or "
            "store smaller values",
            **context,
        )
    if "DB index is out of range" in text:
        return StoreUnavailable(
            f"{server} has no database of the URL's number ({kind}): give the store a lower one, "
            "or raise the number of databases in the server's configuration",
            **context,
        )
    if isinstance(error, known.ConnectionError | OSError):
        return StoreUnavailable(f"{server} {_connection_problem(error, uses_tls)}", **context)
    return StoreUnavailable(f"{server} refused the command ({kind})", **context)


def is_about_scripts(error: object) -> bool:
    """Return True for an answer that the account may not run scripts."""
    text = str(error)
    return (
        isinstance(error, driver("redis.exceptions").NoPermissionError)
        and "permissions to run" in text
        and ("'evalsha'" in text or "'eval'" in text)
    )


def wrong_type(kind: str, **context: Any) -> CorruptEntry:
    """Return the error to raise for a key that is not a string in Redis.

    Args:
        kind: Name of its type.
        context: Store, collection and key for the error to name.
    """
    return CorruptEntry(
        f"the key must be a string of Redis; another program has put a {kind} there, which is "
        "left as it is: use another key or namespace, or delete it with that program",
        **context,
    )


def _connection_problem(error: BaseException, uses_tls: bool) -> str:
    """Return why there is no connection, and what to do."""
    kind = type(error).__name__
    if "max number of clients reached" in str(error):
        return (
            f"has no connection left ({kind}): raise its maxclients, or let its clients have fewer"
        )
    origin: BaseException | None = error
    while origin is not None:
        if isinstance(origin, socket.gaierror):
            return f"cannot be reached, its host name is unknown ({kind}): check the host"
        if isinstance(origin, ConnectionRefusedError):
            return (
                f"cannot be reached, the connection was refused ({kind}): check that the server is "
                "running, and its host and port"
            )
        if isinstance(origin, ssl.SSLCertVerificationError):
            return (
                f"has a certificate that is not trusted, or of another host ({kind}): give the "
                "store the certificate of its authority with `ca`, and the host as it is there"
            )
        origin = origin.__cause__ or origin.__context__
    if has_no_tls(error):
        return WITHOUT_TLS
    hint = "" if uses_tls else f", and {WHETHER_TLS}"
    return (
        f"cannot be reached ({kind}): check that the server is running, its host and port, that it "
        f"has connections left (maxclients){hint}"
    )
