"""The driver, imported when it is used, and the translation of its errors."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from typing import Any, Final

from kvwrap.core.optional import need
from kvwrap.errors import (
    AccessDenied,
    ConfigurationError,
    KvwrapError,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
)
from kvwrap.stores.shared.tls import WHETHER_TLS, WITHOUT_TLS

CONFLICTS: Final = frozenset({"40001", "40P01", "55P03"})
"""Errors of a statement that lost against another one, and succeeds if it is repeated."""

NO_TABLE: Final = "42P01"

ELSEWHERE: Final = frozenset({"25006", "57P01", "57P02", "57P03"})
"""Errors of a server that is read-only or ends: another one may be responsible now."""

_OTHER_SHAPE: Final = frozenset({"42703", "42804", "42809", "42883", "42P10", "42P16", "55000"})
_REFUSED_LOGIN: Final = frozenset({"28000", "28P01"})
_NO_ENCRYPTION: Final = re.compile("no encryption|SSL off")
_PREPARED: Final = frozenset({"26000", "42P05"})


def driver(module: str = "asyncpg") -> Any:
    """Import a module of the driver's package."""
    return need(module, extra="postgresql", wanted_by="PostgreSQLStore")


def state_of(error: BaseException) -> str:
    """Return the SQLSTATE of an error that the server answered with, else an empty text."""
    found = getattr(error, "sqlstate", None)
    return found if isinstance(found, str) else ""


def translate_error(error: Exception, server: str, table: str, **context: Any) -> KvwrapError:
    """Return the error to raise for an error of the driver.

    The driver's own text is not repeated: some of its errors quote the values.

    Args:
        error: The driver's error, which is to be the cause.
        server: Where the server is, such as "PostgreSQL at db:5432".
        table: Name of the table.
        context: Store, collection and keys for the error to name.
    """
    state, kind = state_of(error), type(error).__name__
    if isinstance(error, KvwrapError):
        return error
    if isinstance(error, TimeoutError | asyncio.TimeoutError) or state == "57014":
        return StoreTimeout(
            f"{server} did not answer in time ({kind}): check the server's load, its locks and the "
            "network, or give the store a longer timeout",
            **context,
        )
    if state == "53100":
        return StoreFull(f"{server} has no space left on its disk ({kind}): free some", **context)
    if state == "53300":
        return StoreUnavailable(
            f"{server} has as many connections as it allows ({kind}): raise its max_connections, "
            "lower those of the stores, or put pgbouncer in front",
            **context,
        )
    if state == "25006":
        return StoreUnavailable(
            f"{server} is read-only, such as a standby ({kind}): name all servers in the URL, so "
            "that the primary is found; connections are opened again",
            **context,
        )
    if state in ELSEWHERE:
        return StoreUnavailable(
            f"{server} is starting or shutting down ({kind}): try again, for which Retry is made",
            **context,
        )
    if state in CONFLICTS:
        return StoreUnavailable(
            f"{server} aborted the statement again and again, in favour of others that hold locks "
            f"({kind}): try again, or make their transactions shorter",
            **context,
        )
    if state == "42501":
        return AccessDenied(
            f"{server} does not permit this user to do that with the table {table!r} ({kind}): "
            "grant SELECT, INSERT, UPDATE and DELETE, or use another table=",
            **context,
        )
    if state == NO_TABLE:
        return ConfigurationError(
            f"the table {table!r} of {server} is missing ({kind}): give the store another table=, "
            "or restore this one",
            **context,
        )
    if state in _OTHER_SHAPE:
        return other_shape(server, table, **context)
    if state in _REFUSED_LOGIN and _NO_ENCRYPTION.search(str(error)):
        return StoreUnavailable(
            f"{server} has no entry for this connection without TLS in pg_hba.conf ({kind}): ask "
            "for TLS with tls=true",
            **context,
        )
    if state in _REFUSED_LOGIN:
        return StoreUnavailable(
            f"{server} refuses this username or password ({kind}): check the login and pg_hba.conf",
            **context,
        )
    if state == "3D000":
        return StoreUnavailable(
            f"{server} has no database of the name in the URL ({kind}): create it", **context
        )
    if state in _PREPARED:
        return StoreUnavailable(
            f"{server} lost a prepared statement, as a pooler does ({kind}): use prepared=False",
            **context,
        )
    if state == "54000":
        return ValueTooLarge(
            f"{server} cannot hold the entry ({kind}): store smaller values", **context
        )
    if isinstance(error, ssl.SSLError):
        return StoreUnavailable(
            f"{server} has no certificate that this store trusts, or refuses ours ({kind}): check "
            "ca=, cert= and the host name",
            **context,
        )
    if state and not state.startswith("08"):
        return StoreUnavailable(f"{server} refused the statement ({kind} {state})", **context)
    return StoreUnavailable(f"{server} {_connection_problem(error)}", **context)


def other_shape(server: str, table: str, **context: Any) -> ConfigurationError:
    """Return the error to raise for a table that kvwrap has not created."""
    return ConfigurationError(
        f"the table {table!r} of {server} must be one that kvwrap created; it is of another shape. "
        "Give the store another table=",
        **context,
    )


def _connection_problem(error: BaseException) -> str:
    """Return why there is no connection, and what to do."""
    kind = type(error).__name__
    if "rejected SSL upgrade" in str(error):
        return WITHOUT_TLS
    origin: BaseException | None = error
    while origin is not None:
        if isinstance(origin, socket.gaierror):
            return f"cannot be reached, its host name is unknown ({kind}): check the host"
        if isinstance(origin, ConnectionRefusedError):
            return (
                f"cannot be reached, the connection was refused ({kind}): check that the server is "
                "running, and its host and port"
            )
        origin = origin.__cause__ or origin.__context__
    return (
        f"cannot be reached ({kind}): check that the server is running, its host and port, and "
        f"{WHETHER_TLS}"
    )
