"""The options of a Redis store, which check themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from kvwrap.core.validation import (
    checked_count,
    checked_flag,
    checked_name,
    checked_seconds,
    is_name,
)
from kvwrap.errors import ConfigurationError
from kvwrap.stores.shared import urls
from kvwrap.stores.shared.tls import TLS_OPTIONS, Tls, make_tls

STORE_OPTIONS: Final = {
    "namespace": urls.TEXT,
    "raw": urls.FLAG,
    "timeout": urls.NUMBER_OR_NONE,
    "max_connections": urls.INTEGER,
    "default_collection": urls.TEXT,
    "sentinel_username": urls.TEXT,
    "sentinel_password": urls.TEXT,
    **TLS_OPTIONS,
}
"""Options that a URL may have besides the driver's, by name."""

_SERVICE: Final = re.compile(r"[^/]+(?:/[0-9]{1,9})?")
_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_HOST_AND_PORT: Final = re.compile(r"[A-Za-z0-9.-]+:[0-9]{1,5}(?:/[0-9]+)?")


@dataclass(frozen=True, kw_only=True)
class RedisOptions:
    """The server, the login, the form of the data, and the limits of its use.

    The attributes are the arguments of `RedisStore`, which documents them, and `product`, the name
    of the server's program, whose schemes the URL has.

    Raises:
        ConfigurationError: An option is invalid, or two exclude each other.
    """

    product: str = "Redis"
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
    tls: bool | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._check_server()
        self._check_tls()
        for name, number, maximum in (("port", self.port, 65_535), ("db", self.db, 2**31 - 1)):
            if number is not None and (type(number) is not int or not 0 <= number <= maximum):
                raise ConfigurationError(
                    f"`{name}` must be an integer from 0 to {maximum}; got {number!r}"
                )
        if self.host is not None:
            checked_name(self.host, "host")
        for name in ("username", "password", "sentinel_username", "sentinel_password"):
            text = getattr(self, name)
            if text is not None and text != "" and not is_name(text):
                got = "another one" if isinstance(text, str) else type(text).__name__
                raise ConfigurationError(f"`{name}` must be a string of valid Unicode; got {got}")
        if not checked_flag(self.raw, "raw"):
            checked_name(self.namespace, "namespace")
        if self.timeout is not None:
            checked_seconds(self.timeout, "timeout")
        checked_count(self.max_connections, "max_connections")

    @property
    def scheme(self) -> str:
        """The scheme of the URL, as that of Redis; `redis` if there is no URL."""
        return self._redis_url.partition("://")[0] if self.url is not None else "redis"

    @property
    def _redis_url(self) -> str:
        """The URL with the scheme that Redis has for it."""
        scheme, _, rest = (self.url or "").partition("://")
        return f"{redis_scheme(scheme)}://{rest}"

    @property
    def driver_url(self) -> str:
        """The URL for the driver, which has one host; empty if there is no URL."""
        if self.url is None:
            return ""
        if self.scheme in ("redis", "rediss", "unix"):
            return self._redis_url
        query = self.parts.query
        return f"redis://?{query}" if query else "redis://"

    @property
    def parts(self) -> urls.ServerURL:
        """The parts of a URL of several servers."""
        port = _SENTINEL_PORT if self.scheme == "redis+sentinel" else _PORT
        return urls.split_server_url(self._redis_url, self.scheme, port=port)

    @property
    def made_tls(self) -> Tls | None:
        """The TLS that the options ask for."""
        return make_tls(self.tls, self.ca, self.cert, self.key)

    @property
    def uses_tls(self) -> bool:
        """True if TLS is asked for, by these options or the scheme."""
        return self.made_tls is not None or self.scheme == "rediss"

    @property
    def sentinel(self) -> tuple[str, int | None]:
        """The service and the database of a URL of Sentinel."""
        service, _, database = self.parts.path.partition("/")
        return service, int(database) if database else None

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
        login = {"sentinel_username", "sentinel_password", *TLS_OPTIONS}
        given = [
            *(["url"] if self.url is not None else []),
            *self.driver_options,
            *sorted(name for name in login if getattr(self, name) is not None),
        ]
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
        _check_url(self.url, self.product)
        if self.scheme == "redis+cluster" and (self.parts.path not in ("", "0") or self.db):
            raise ConfigurationError(
                "the URL of a cluster must not name a database, since a cluster has only "
                "database 0; got one"
            )
        if self.scheme == "redis+sentinel" and not _SERVICE.fullmatch(self.parts.path):
            raise ConfigurationError(
                "the URL of Sentinel must name the service and may name a database, as in "
                "redis+sentinel://host:26379,host:26379/service/0"
            )

    def _check_tls(self) -> None:
        logins = (self.sentinel_username, self.sentinel_password)
        if logins != (None, None) and self.scheme != "redis+sentinel":
            raise ConfigurationError(
                "`sentinel_username` and `sentinel_password` need a URL of Sentinel, "
                "redis+sentinel://host:26379/service"
            )
        if self.made_tls is not None and self.scheme == "unix":
            raise ConfigurationError("`tls` is for TCP; a unix socket has none: leave it out")


def schemes(product: str) -> dict[str, str]:
    """Return the schemes of the URLs of a product, each with what Redis calls it."""
    name = product.lower()
    own = {f"{name}{end}": f"redis{end}" for end in ("", "s", "+cluster", "+sentinel")}
    return {**own, "unix": "unix"} if product == "Redis" else own


def redis_scheme(scheme: str) -> str:
    """Return what Redis calls a scheme."""
    return scheme.replace("valkey", "redis")


def _check_url(url: object, product: str) -> None:
    """Raise ConfigurationError for a URL that is not one of Redis."""
    known = schemes(product)
    name = product.lower()
    examples = f"{name}://user:password@host:6379/0, {name}s://… for TLS" + (
        " or unix:///path?db=0" if "unix" in known else ""
    )
    # The URL is not quoted in errors, since it may contain a password.
    if not isinstance(url, str):
        raise ConfigurationError(
            f"`url` must be a string such as {examples}; got {type(url).__name__}"
        )
    if _HOST_AND_PORT.fullmatch(url):
        begins = " or ".join(f"{scheme}://" for scheme in known)
        raise ConfigurationError(f"`url` must begin with {begins}; did you mean '{name}://{url}'?")
    urls.check_fragment(url)
    scheme, separator, _ = url.partition("://")
    if scheme not in known or not separator:
        got = f"the scheme {scheme!r}" if separator else "a text without a scheme"
        raise ConfigurationError(f"`url` must be one of {product}: {examples}; got {got}")
    if scheme != "unix":
        addresses = urls.split_server_url(url, scheme, port=_PORT).addresses
        if "+" not in scheme and len(addresses) > 1:
            raise ConfigurationError(
                f"a URL of several servers must begin with {name}+cluster:// or "
                f"{name}+sentinel://; got {scheme}://"
            )
    elif "@" in unquote(url.partition("?")[0].partition("://")[2].partition("/")[2]):
        raise ConfigurationError(
            "`url` must have its login before the path, with / in a password written as %2F and @ "
            "as %40; got one with an @ behind it"
        )
