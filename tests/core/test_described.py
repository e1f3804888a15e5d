"""Descriptions: which arguments `repr` shows, and which it hides."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from kvwrap.core.described import Described, redact


class Part(Described):
    def __init__(self, url: object = None, *, password: str | None = None, **more: object) -> None:
        pass


def test_arguments_are_shown_as_given() -> None:
    assert repr(Part("x", more=1)) == "Part(url='x', more=1)"


def test_a_path_is_shown_as_text() -> None:
    assert repr(Part(PurePosixPath("a/b.db"))) == "Part(url='a/b.db')"
    assert repr(Part([PurePosixPath("a")])) == "Part(url=['a'])"


def test_a_password_is_hidden_and_its_absence_is_not() -> None:
    assert repr(Part(password="hunter2")) == "Part(password=***)"
    assert repr(Part(password=None)) == "Part(password=None)"
    assert "hunter2" not in repr(Part(ssl_password="hunter2", api_key="hunter2", Token="hunter2"))


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@host:6379/0",
        "redis://user:hunter2@host",
        "redis://user:hun@ter2hunter2@host/1",
        "redis://host/0?password=hunter2&db=1",
        "redis://host/0?pass%77ord=it's-hunter2",
        "redis://app:it's-hunter2@host:6379/0",
        "redis://app:a\"'hunter2@host",
        "redis://app:a hunter2@host",
        "redis://app:a\nb://c@hunter2@host",
    ],
)
def test_secrets_in_urls_are_hidden_at_every_depth(url: str) -> None:
    for part in (Part(url), Part([{"nested": url}])):
        assert "hunter2" not in repr(part)
        assert "host" in repr(part)


@pytest.mark.parametrize(
    "text",
    [
        "://" * 20_000,
        "?token" * 20_000,
        "://?" + "token&" * 20_000,
        "://" + "@" * 60_000,
        "[" * 60_000,
    ],
)
def test_redaction_takes_linear_time(text: str) -> None:
    assert len(redact(text)) <= 2 * len(text)  # a quadratic search would not return
    repr(Part(text, more=[text]))


def test_items_are_hidden_by_their_names() -> None:
    assert repr(Part({"password": "hunter2", "db": 1})) == "Part(url={'password': ***, 'db': 1})"


def test_nested_values_are_shown_like_repr() -> None:
    value: list[object] = [(1,), (), set(), {2}, frozenset({3}), {"a": [b"x"]}]
    assert repr(Part(value)) == f"Part(url={value!r})"
    value.append(value)
    assert repr(Part(value)).count("[...]") == 1


def test_what_a_reference_leads_to_is_not_shown() -> None:
    part = Part("redis://tenant-hunter2")
    part.configured = {"url": {"env": "REDIS_URL"}}
    assert repr(part) == "Part(<env REDIS_URL>)"
    assert repr(part.clone()) == "Part(<env REDIS_URL>)"


def test_urls_without_secrets_are_unchanged() -> None:
    assert redact("sqlite:///a/b.db?table=x") == "sqlite:///a/b.db?table=x"
