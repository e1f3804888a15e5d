"""The options of a PostgreSQL store, which check themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from kvwrap.core.validation import (
    checked_count,
    checked_flag,
    checked_seconds,
)
from kvwrap.errors import ConfigurationError
from kvwrap.stores.postgresql.statements import is_table_name
from kvwrap.stores.shared import urls
from kvwrap.stores.shared.tls import TLS_OPTIONS, Tls, make_tls

SCHEME: Final = "postgresql"
"""The scheme of the URLs."""

URL_OPTIONS: Final = {
    "table": urls.TEXT,
    "timeout": urls.NUMBER_OR_NONE,
    "max_connections": urls.INTEGER,
    "notify": urls.FLAG,
    "prepared": urls.FLAG,
    "target": urls.TEXT,
    "default_collection": urls.TEXT,
    **TLS_OPTIONS,
}
"""The options that a URL may have, by name."""

TARGETS: Final = ("any", "primary", "standby", "prefer-standby", "read-write", "read-only")
"""Which of several servers may be used."""

_PORT: Final = 5432
_EXAMPLE: Final = "postgresql://user:password@host:5432/database"


@dataclass(frozen=True, kw_only=True)
class PostgreSQLOptions:
    """The server, the login, the table, and the limits of their use.

    The attributes are the arguments of `PostgreSQLStore`, which documents them.

    Raises:
        ConfigurationError: An option is invalid, or two exclude each other.
    """

    url: str | None = field(default=None, repr=False)
    client: Any = None
    table: str = "kvwrap"
    timeout: float | None = 5.0
    max_connections: int = 10
    notify: bool = False
    prepared: bool | None = None
    target: str | None = None
    tls: bool | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        self._check_server()
        if not is_table_name(self.table):
            raise ConfigurationError(
                "`table` must be at most 52 letters, digits and underscores, not beginning with a "
                f"digit, with a schema in front or not (app.kvwrap); got {self.table!r}"
            )
        if self.timeout is not None:
            checked_seconds(self.timeout, "timeout")
        checked_count(self.max_connections, "max_connections")
        checked_flag(self.notify, "notify")
        if self.prepared is not None:
            checked_flag(self.prepared, "prepared")
        if self.target is not None and self.target not in TARGETS:
            raise ConfigurationError(
                f"`target` must be one of {', '.join(TARGETS)}; got {self.target!r}"
            )

    def _check_server(self) -> None:
        if self.client is not None:
            own = ("url", "prepared", "target", "tls", "ca", "cert", "key")
            given = [name for name in own if getattr(self, name) is not None]
            if given:
                raise ConfigurationError(
                    "`client` must be the only option that names the server or how to connect, "
                    f"since it has its own; got also {', '.join(given)}: leave out one or the other"
                )
            return
        # The URL is not quoted in errors, since it may contain a password.
        if not isinstance(self.url, str):
            raise ConfigurationError(
                f"PostgreSQLStore needs a `url` such as {_EXAMPLE!r}, or a `client`, a pool of "
                f"asyncpg; got {type(self.url).__name__} as the URL"
            )
        if self.server.query:
            raise ConfigurationError(
                "`url` must have no options: pass them as arguments, or the URL to store_from_url"
            )
        _ = self.secured  # raises for files that cannot be used

    @cached_property
    def server(self) -> urls.ServerURL:
        """The parts of the URL."""
        assert self.url is not None
        return urls.split_server_url(self.url, SCHEME, port=_PORT)

    @property
    def secured(self) -> Tls | None:
        """TLS to the server, or None."""
        return make_tls(self.tls, self.ca, self.cert, self.key)
