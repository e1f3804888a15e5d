"""What the URLs of stores have in common: options in the query, all of them known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from kvwrap.core.validation import suggest
from kvwrap.errors import ConfigurationError


def split(url: str, *schemes: str) -> SplitResult:
    """The parts of a URL that must have one of these schemes."""
    try:
        parts = urlsplit(url)
    except ValueError:
        # The URL is not quoted, here and below: it may hold a password.
        raise ConfigurationError("this is not a URL") from None
    if parts.scheme not in schemes:
        raise ConfigurationError(
            f"the URL begins with {parts.scheme!r}, and this store's begin with "
            + " or ".join(f"{scheme}://" for scheme in schemes)
        )
    return parts


def options(query: str, known: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """The options of a query, each read by what is known of it.

    Raises:
        ConfigurationError: One is unknown, given twice, or not what it must be.
    """
    found, others = taken(query, known)
    if others:
        name = parse_qsl(others, keep_blank_values=True)[0][0]
        hint = suggest(name, known) if known else "there are none"
        raise ConfigurationError(f"the URL has no option {name!r}: {hint}")
    return found


def taken(query: str, known: Mapping[str, Callable[[str], Any]]) -> tuple[dict[str, Any], str]:
    """The known options of a query, and the query without them."""
    found: dict[str, Any] = {}
    others = []
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            others.append((name, text))
            continue
        if name in found:
            raise ConfigurationError(f"the URL has the option {name!r} twice")
        try:
            found[name] = known[name](text)
        except ValueError:
            wanted = (known[name].__doc__ or "").rstrip(".").lower()
            raise ConfigurationError(
                f"the URL's option {name!r} is {wanted}, not {text!r}"
            ) from None
    return found, urlencode(others)


def path_of(parts: SplitResult) -> str:
    """What follows the third slash, as a path."""
    return unquote(parts.path[1:])


def whole(text: str) -> int:
    """A whole number."""
    return int(text)


def number(text: str) -> float:
    """A number."""
    return float(text)


def number_or_none(text: str) -> float | None:
    """A number, or `none`."""
    return None if text.lower() == "none" else float(text)


def flag(text: str) -> bool:
    """Yes or no."""
    if text.lower() in {"1", "true", "yes", "on"}:
        return True
    if text.lower() in {"0", "false", "no", "off"}:
        return False
    raise ValueError(text)
