"""The errors of Django's databases, and what is raised for them."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from django.db import InterfaceError, ProgrammingError
from django.db.transaction import TransactionManagementError

from kvwrap.errors import (
    AccessDenied,
    ConfigurationError,
    KvwrapError,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
)

_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_CONFLICTS: Final = {"40001", "40P01"}
_LATE: Final = {"57014", "55P03"}
_MISSING: Final = {"42P01", "42703"}


def translate_error(error: Exception, place: str, **context: Any) -> KvwrapError:
    """Return the error to raise for an error of a database, which is to be its cause.

    The database's own text is not repeated: some of its errors quote the values.

    Args:
        error: The error that Django raised.
        place: Where the entries are, such as "table 'kvwrap_entry' of database 'default'".
        context: Store, collection and key for the error to name.
    """
    origin = error.__cause__
    kind = type(origin or error).__name__
    if isinstance(error, TransactionManagementError):
        return StoreUnavailable(
            f"the transaction in which {place} is used must be intact; an error within it has "
            "ended it: leave its atomic() block",
            **context,
        )
    if isinstance(origin, sqlite3.Error):
        code = getattr(origin, "sqlite_errorcode", 0) & 0xFF
        name = getattr(origin, "sqlite_errorname", kind)
        return _sqlite_error(code, name, str(origin), place, context)
    state = getattr(origin, "sqlstate", None) or ""
    return _server_error(error, state, f"{kind} {state}".strip(), place, context)


def _sqlite_error(
    code: int, name: str, text: str, place: str, context: dict[str, Any]
) -> KvwrapError:
    if code in _BUSY:
        return StoreTimeout(
            f"{place} must be free of other transactions; they held the file too long, or began to "
            f"write after this transaction had read ({name}). Make them shorter, raise the option "
            "`timeout` of the database, or set its `transaction_mode` to IMMEDIATE",
            **context,
        )
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"the disk of {place} has no space left ({name}): free some", **context)
    if code == sqlite3.SQLITE_TOOBIG:
        return ValueTooLarge(
            f"{place} cannot hold the entry ({name}): store smaller values", **context
        )
    if code == sqlite3.SQLITE_READONLY:
        return AccessDenied(f"{place} can only be read ({name}): check the file", **context)
    if code == sqlite3.SQLITE_ERROR and text.startswith(("no such table", "no such column")):
        return _no_table(place, name, context)
    return StoreUnavailable(f"{place} cannot be used ({name}): check the file", **context)


def _server_error(
    error: Exception, state: str, kind: str, place: str, context: dict[str, Any]
) -> KvwrapError:
    if state in _MISSING or (isinstance(error, ProgrammingError) and not state):
        return _no_table(place, kind, context)
    if state in _LATE:
        return StoreTimeout(f"{place} did not answer in time ({kind}): check its locks", **context)
    if state in _CONFLICTS:
        return StoreUnavailable(
            f"{place} gave another transaction the preference ({kind}): repeat this one", **context
        )
    if state == "53100":
        return StoreFull(f"the server of {place} has no space left ({kind}): free some", **context)
    if state == "54000":
        return ValueTooLarge(
            f"{place} cannot hold the entry ({kind}): store smaller values", **context
        )
    if state in {"42501", "25006"}:
        return AccessDenied(
            f"{place} does not permit this ({kind}): grant SELECT, INSERT, UPDATE and DELETE",
            **context,
        )
    reason = "has lost its connection" if isinstance(error, InterfaceError) else "cannot be reached"
    return StoreUnavailable(
        f"{place} {reason} ({kind}): check the server and the settings of the database", **context
    )


def _no_table(place: str, kind: str, context: dict[str, Any]) -> ConfigurationError:
    return ConfigurationError(
        f"{place} must be the one that the migrations of kvwrap create; it is missing or of "
        f"another shape ({kind}): run manage.py migrate for this database",
        **context,
    )
