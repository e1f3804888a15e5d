"""The options of a Redis store, which check themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from kvwrap.core.validation import checked_count, checked_flag, checked_name, checked_seconds
from kvwrap.errors import ConfigurationError
from kvwrap.stores.shared import urls

SCHEMES: Final = ("redis", "rediss", "unix")
"""Schemes of the URLs of Redis; `rediss` is TLS."""

STORE_OPTIONS: Final = {
    "namespace": urls.TEXT,
    "raw": urls.FLAG,
    "timeout": urls.NUMBER_OR_NONE,
    "max_connections": urls.INTEGER,
}
"""Options that a URL may have besides the driver's, by name."""

_EXAMPLES: Final = "redis://user:password@host:6379/0, rediss://… for TLS or unix:///path?db=0"
_HOST_AND_PORT: Final = re.compile(r"[A-Za-z0-9.-]+:[0-9]{1,5}(?:/[0-9]+)?")


@dataclass(frozen=True, kw_only=True)
class RedisOptions:
    """The server, the login, the form of the data, and the limits of its use.

    The attributes are the arguments of `RedisStore`, which documents them.

    Raises:
        ConfigurationError: An option is invalid, or two exclude each other.
    """

    url: str | None = field(default=None, repr=False)
    client: Any = None
    host: str | None = None
    port: int | None = None
    db: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    namespace: str = "kvwrap"
    raw: bool = False
    timeout: float | None = 5.0
    max_connections: int = 32

    def __post_init__(self) -> None:
        self._check_server()
        for name, number, maximum in (("port", self.port, 65_535), ("db", self.db, 2**31 - 1)):
            if number is not None and (type(number) is not int or not 0 <= number <= maximum):
                raise ConfigurationError(
                    f"`{name}` must be an integer from 0 to {maximum}; got {number!r}"
                )
        if self.host is not None:
            checked_name(self.host, "host")
        for name, text in (("username", self.username), ("password", self.password)):
            if text is not None and not isinstance(text, str):
                raise ConfigurationError(f"`{name}` must be a string; got {type(text).__name__}")
        if not checked_flag(self.raw, "raw"):
            checked_name(self.namespace, "namespace")
        if self.timeout is not None:
            checked_seconds(self.timeout, "timeout")
        checked_count(self.max_connections, "max_connections")

    @property
    def driver_options(self) -> dict[str, Any]:
        """The options for the driver besides the URL; those left out are not in it."""
        options = {
            "host": self.host,
            "port": self.port,
            "db": self.db,
            "username": self.username,
            "password": self.password,
        }
        return {name: value for name, value in options.items() if value is not None}

    def _check_server(self) -> None:
        given = [*(["url"] if self.url is not None else []), *self.driver_options]
        if self.client is not None and given:
            raise ConfigurationError(
                "`client` must be the only option that names the server or the login, since it has "
                f"its own; got also {', '.join(given)}: leave out one or the other"
            )
        if self.url is None:
            return
        if self.host is not None or self.port is not None:
            raise ConfigurationError(
                "the server must be named either by `url` or by `host` and `port`; got both"
            )
        _check_url(self.url)


def _check_url(url: object) -> None:
    """Raise ConfigurationError for a URL that is not one of Redis."""
    # The URL is not quoted in errors, since it may contain a password.
    if not isinstance(url, str):
        raise ConfigurationError(
            f"`url` must be a string such as {_EXAMPLES}; got {type(url).__name__}"
        )
    if _HOST_AND_PORT.fullmatch(url):
        raise ConfigurationError(
            f"`url` must begin with redis://, rediss:// or unix://; did you mean 'redis://{url}'?"
        )
    try:
        parts = urlsplit(url)
        has_scheme = parts.scheme in SCHEMES
        if has_scheme and parts.scheme != "unix":
            _ = parts.port  # raises if it is not a number in the range
    except ValueError:
        raise ConfigurationError(
            f"`url` must have a valid host, and a port from 0 to 65535, as in {_EXAMPLES}"
        ) from None
    urls.check_fragment(url)
    if has_scheme and "@" in unquote(parts.path):
        raise ConfigurationError(
            "`url` must have its login before the host, with / in a password written as %2F and @ "
            "as %40; got one with an @ behind the host"
        )
    if not has_scheme:
        got = f"the scheme {parts.scheme!r}" if "://" in url else "a text without a scheme"
        raise ConfigurationError(f"`url` must be one of Redis: {_EXAMPLES}; got {got}")
