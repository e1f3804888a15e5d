"""URLs of one or several servers."""

from __future__ import annotations

import pytest

from kvwrap import ConfigurationError
from kvwrap.stores.shared.urls import Address, split_server_url


def test_the_parts_of_a_url_of_several_servers() -> None:
    url = "a+b://us%40er:p%3Aw%2C%2Fö@one:1,two,[::1]:3/ser%20vice/0?x=1&y=/?"
    parts = split_server_url(url, "a", "a+b", port=7)
    assert (parts.scheme, parts.username, parts.password) == ("a+b", "us@er", "p:w,/ö")
    assert parts.addresses == (Address("one", 1), Address("two", 7), Address("::1", 3))
    assert [str(address) for address in parts.addresses] == ["one:1", "two:7", "[::1]:3"]
    assert (parts.path, parts.query) == ("ser vice/0", "x=1&y=/?")
    assert "p:w" not in repr(parts)


def test_what_a_url_leaves_out() -> None:
    parts = split_server_url("a://", "a", port=7)
    assert (parts.username, parts.password) == (None, None)
    assert parts.addresses == (Address("localhost", 7),)
    assert (parts.path, parts.query) == ("", "")
    parts = split_server_url("a://:@h?q", "a", port=7)
    assert (parts.username, parts.password, parts.query) == (None, "", "q")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("b://host", "must begin with a:// or c://"),
        ("host:5", "must begin with a:// or c://"),
        ("a://hunter2@host#x", "must have no '#'"),
        ("a://user:hunter2/x@host", "as %2F and @ as %40"),
        ("a://u:hunter2@host:port", "must name its servers as"),
        ("a://u:hunter2@host:65536", "ports from 0 to 65535"),
        ("a://u:hunter2@::1", "an IPv6 address in brackets"),
        ("a://u:hunter2@one two", "must name its servers as"),
    ],
)
def test_invalid_urls_are_refused_without_being_shown(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        split_server_url(url, "a", "c", port=7)
    assert "hunter2" not in str(caught.value)
