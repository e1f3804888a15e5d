"""URLs of stores: their parts, and the options in their queries."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from kvwrap.core.validation import suggest
from kvwrap.errors import ConfigurationError


class OptionType(NamedTuple):
    """The type of an option's value.

    Attributes:
        description: What the value must be, for the error message.
        parse: Converts the text in the URL; raises ValueError for any other text.
    """

    description: str
    parse: Callable[[str], Any]


def _parse_number_or_none(text: str) -> float | None:
    return None if text.lower() == "none" else float(text)


def _parse_flag(text: str) -> bool:
    if text.lower() in {"1", "true", "yes", "on"}:
        return True
    if text.lower() in {"0", "false", "no", "off"}:
        return False
    raise ValueError(text)


TEXT: Final = OptionType("a text", str)
INTEGER: Final = OptionType("an integer", int)
NUMBER: Final = OptionType("a number", float)
NUMBER_OR_NONE: Final = OptionType("a number or `none`", _parse_number_or_none)
FLAG: Final = OptionType("`true` or `false`", _parse_flag)


_MAX_OPTIONS: Final = 100


def split_url(url: str, *schemes: str) -> SplitResult:
    """Split a URL into its parts.

    Raises:
        ConfigurationError: It is not a URL, or has none of these schemes.
    """
    expected = " or ".join(f"{scheme}://" for scheme in schemes)
    check_unicode(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        # The URL is not quoted, here and below: it may contain a password.
        raise ConfigurationError(
            f"the URL of this store must be a valid {expected} URL; got one that cannot be parsed"
        ) from None
    if parts.scheme not in schemes:
        raise ConfigurationError(
            f"the URL of this store must begin with {expected}; got the scheme {parts.scheme!r}"
        )
    check_fragment(url)
    return parts


def check_scheme(url: str, *schemes: str) -> None:
    """Raise ConfigurationError if a URL has none of these schemes, or has a fragment."""
    scheme, _, _ = url.partition("://")
    if scheme not in schemes:
        expected = " or ".join(f"{name}://" for name in schemes)
        shown = f"the scheme {scheme!r}" if scheme.isalnum() and scheme != url else "another text"
        raise ConfigurationError(f"the URL of this store must begin with {expected}; got {shown}")
    check_fragment(url)


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class ServerURL:
    """The parts of a URL of one or several servers, without their escapes.

    Attributes:
        scheme: The scheme.
        username: The username, or None.
        password: The password, or None. It is not in the `repr`.
        addresses: The servers, at least one.
        path: What follows the slash after the servers.
        query: What follows the question mark, as it is.
    """

    scheme: str
    username: str | None
    password: str | None = field(repr=False)
    addresses: tuple[Address, ...]
    path: str
    query: str


_SERVER_URL: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<server>[^/?]*)(?:/(?P<path>[^?]*))?(?:\?(?P<query>.*))?",
    re.DOTALL,
)
_ADDRESS: Final = re.compile(
    r"(?:\[(?P<ip>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]@\s]*))(?::(?P<port>\d*))?"
)


def split_server_url(url: object, *schemes: str, port: int) -> ServerURL:
    """Split a URL such as `scheme://username:password@host:port,host:port/path?options`.

    Args:
        url: The URL. A host that is left out is `localhost`.
        schemes: Schemes that the URL may have.
        port: Port of a server without one.

    Raises:
        ConfigurationError: It is not a URL of these schemes, or has an invalid host or port.
    """
    expected = " or ".join(f"{scheme}://" for scheme in schemes)
    match = _SERVER_URL.fullmatch(url) if isinstance(url, str) else None
    # The URL is not quoted, here and below: it may contain a password.
    if not isinstance(url, str) or match is None or match["scheme"] not in schemes:
        raise ConfigurationError(f"the URL of this store must begin with {expected}")
    check_unicode(url)
    check_fragment(url)
    login, _, servers = match["server"].rpartition("@")
    path = unquote(match["path"] or "")
    if "@" in path:
        raise ConfigurationError(
            "the URL of this store must have its login before the host, with / in a password "
            "written as %2F and @ as %40; got one with an @ behind the host"
        )
    username, colon, password = login.partition(":")
    return ServerURL(
        scheme=match["scheme"],
        username=unquote(username) if username else None,
        password=unquote(password) if colon else None,
        addresses=tuple(_address(text, port) for text in servers.split(",")),
        path=path,
        query=match["query"] or "",
    )


def _address(text: str, default_port: int) -> Address:
    match = _ADDRESS.fullmatch(text)
    port = int(match["port"] or default_port) if match else -1
    if match is None or not 0 <= port <= 65_535:
        raise ConfigurationError(
            "the URL of this store must name its servers as host:port,host:port, with ports from "
            "0 to 65535, and an IPv6 address in brackets; got others"
        )
    return Address(match["ip"] or unquote(match["host"]) or "localhost", port)


def endpoint_servers(url: str | None) -> tuple[Address, ...]:
    """Return host and port of the endpoint of a service of HTTP; empty without one."""
    parts = urlsplit(url or "")
    if parts.hostname is None:
        return ()
    return (Address(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)),)


def check_fragment(url: str) -> None:
    """Raise ConfigurationError if a URL has a `#`, after which everything would be ignored."""
    # Where the URL ends is not shown: it may be within a password.
    if "#" in url:
        raise ConfigurationError(
            "the URL of a store must have no '#', which would end it: write %23 for a '#' in a "
            "name, a path or a password"
        )


def parse_options(query: str, known: Mapping[str, OptionType]) -> dict[str, Any]:
    """Parse the options of a query.

    Args:
        query: The part of the URL after the question mark.
        known: Types of the options that the store has, by name.

    Raises:
        ConfigurationError: An option is unknown, given twice, or not of its type.
    """
    options, others = take_options(query, known)
    if others:
        name = parse_qsl(others, keep_blank_values=True)[0][0]
        hint = suggest(name, known) if known else "this store has no URL options"
        shown = f" {name!r}" if name.isidentifier() and f"{name}=" in query else ""
        raise ConfigurationError(f"unknown URL option{shown}: {hint}")
    return options


def take_options(query: str, known: Mapping[str, OptionType]) -> tuple[dict[str, Any], str]:
    """Parse the known options of a query. Returns them, and the query without them.

    Raises:
        ConfigurationError: A known option is given twice, or not of its type, or there are
            more than 100 options, or lone surrogates.
    """
    check_unicode(query)
    options: dict[str, Any] = {}
    others = []
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_OPTIONS)
    except ValueError:
        raise ConfigurationError(
            f"a URL must have at most {_MAX_OPTIONS} options; got more"
        ) from None
    for name, text in pairs:
        if name not in known:
            others.append((name, text))
            continue
        if name in options:
            raise ConfigurationError(
                f"the URL option {name!r} must be given once; got it twice: remove one of them"
            )
        try:
            options[name] = known[name].parse(text)
        except (ValueError, OverflowError):
            # The text is not shown: with a typo in the URL, it may be part of a password.
            raise ConfigurationError(
                f"the URL option {name!r} must be {known[name].description}; got another text"
            ) from None
    return options, urlencode(others)


def check_unicode(url: str) -> None:
    """Raise ConfigurationError for a URL, or a part of one, with lone surrogates."""
    try:
        url.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(
            "a URL must be valid Unicode, without lone surrogates; got one that is not"
        ) from None


def folder_of(parts: SplitResult, store: str) -> str:
    """Return the absolute path of a folder that a URL has.

    Args:
        parts: The parts of the URL.
        store: The store with its article, for the error.

    Raises:
        ConfigurationError: The URL has a host or no path.
    """
    example = f"{parts.scheme}:///var/lib/app"
    _refuse_host(parts, store, example, ("", ""))
    path = unquote(parts.path).lstrip("/")
    if not path:
        raise ConfigurationError(
            f"the URL of {store} must have the absolute path of a folder, as in {example}; got one "
            "without a path"
        )
    return f"/{path}"


def file_of(parts: SplitResult, store: str) -> str:
    """Return what follows the third slash of a URL, as the path of a file; empty for none.

    Args:
        parts: The parts of the URL.
        store: The store with its article, for the error.

    Raises:
        ConfigurationError: The URL has a host.
    """
    scheme = parts.scheme
    example = f"{scheme}:///app.db (relative path) or {scheme}:////var/lib/app.db (absolute path)"
    _refuse_host(parts, store, example, ("", " (relative path)"), ("/", " (absolute path)"))
    return unquote(parts.path[1:])


def _refuse_host(parts: SplitResult, store: str, example: str, *meant: tuple[str, str]) -> None:
    if not parts.netloc:
        return
    hint = ""
    # What may be a user and password is not shown. One with a slash ends the host, so that its @
    # is in the path.
    if "@" not in parts.geturl() and ":" not in parts.netloc:
        paths = [
            f"{parts.scheme}:///{slash}{parts.netloc}{parts.path}{note}" for slash, note in meant
        ]
        hint = f"; got the host {parts.netloc!r}: did you mean {' or '.join(paths)}?"
    raise ConfigurationError(f"the URL of {store} must have no host, as in {example}{hint}")
