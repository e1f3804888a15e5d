"""Random secrets in every place where one may be: nothing that a program shows contains them."""

from __future__ import annotations

import logging
import pickle
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import KvwrapError, MemoryStore, RedisStore, Store, from_config, stack, store_from_url
from kvwrap import to_config as dumped
from kvwrap.config.references import Referred
from kvwrap.core.described import Described, redact

MARK = "S3cr3t"
secrets = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=12).flatmap(
    lambda text: st.integers(0, len(text)).map(lambda at: text[:at] + MARK + text[at:])
)
"""Passwords of any characters, which contain `MARK`."""


def shown(store: Store) -> Iterator[str]:
    """Yield everything that describes a store, or the error that a description raises."""
    describe: tuple[Callable[[], object], ...] = (
        lambda: repr(store),
        lambda: str(store),
        store.explain,
        lambda: store.location,
        lambda: dumped(store),
        lambda: pickle.dumps(store),
        lambda: stack().fallback(lambda: store).over(MemoryStore()).explain(),
    )
    for call in describe:
        try:
            yield str(call())
        except (KvwrapError, TypeError) as error:
            yield "".join(traceback.format_exception_only(error))


def all_shown(make: Callable[[], Any]) -> list[str]:
    """Return what is shown of the object, or of the errors of making it with all their causes."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            made = make()
        except KvwrapError as error:
            cause: BaseException | None = error
            while cause is not None:
                texts += [str(cause), repr(cause)]
                cause = cause.__cause__ or (
                    None if cause.__suppress_context__ else cause.__context__
                )
        else:
            texts += shown(made)
    return [*texts, *(str(warning.message) for warning in caught)]


URLS: dict[str, str] = {
    "user": "redis://{}:x@127.0.0.1:1/0",
    "password": "redis://app:{}@127.0.0.1:1/0",
    "password alone": "redis://:{}@127.0.0.1:1",
    "bad port": "redis://app:{}@127.0.0.1:port/0",
    "query": "redis://127.0.0.1:1/0?password={}",
    "timeout": "redis://127.0.0.1:1/0?timeout={}",
    "number": "memory://?max_entries={}",
    "sqlite host": "sqlite://app:{}@host/file",
    "no such scheme": "nothing://app:{}@host",
    "Unix socket": "unix://app:{}@/tmp/none.sock?db=0",
}


@pytest.mark.parametrize("place", URLS)
@given(secret=secrets)
def test_urls(place: str, secret: str) -> None:
    url = URLS[place].format(secret)
    for make in (
        lambda: store_from_url(url),
        lambda: from_config({"store": url}),
        lambda: from_config({"store": {"url": url}}),
        lambda: from_config({"store": {"type": "redis", "url": url}}),
        lambda: RedisStore(url),
    ):
        for text in all_shown(make):
            assert MARK not in text, text


@given(secret=secrets)
def test_options_with_names_of_secrets(secret: str) -> None:
    for make in (
        lambda: RedisStore(host="127.0.0.1", password=secret),
        lambda: stack().hash_keys(secret + "x" * 16).over(MemoryStore()),
        lambda: stack().hash_keys(secret).over(MemoryStore()),
        lambda: from_config({"store": {"type": "redis", "password": secret}}),
        lambda: from_config({"store": {"type": "redis", "pasword": secret}}),
    ):
        for text in all_shown(make):
            assert MARK not in text, text


class Part(Described):
    def __init__(self, *values: object, **options: object) -> None:
        pass


@given(secret=secrets, depth=st.integers(0, 4), name=st.sampled_from(["a", "password", "api_key"]))
def test_arguments_at_any_depth(secret: str, depth: int, name: str) -> None:
    value: object = f"redis://app:{secret}@127.0.0.1" if name == "a" else secret
    for _ in range(depth):
        value = [{name: value}, (1, {"x"})]
    assert MARK not in repr(Part(**{name: value}))
    assert MARK not in repr(Part(value)) or (name != "a" and not depth)


@given(secret=secrets)
def test_a_text_behind_a_reference(secret: str) -> None:
    assert MARK not in repr(Referred(secret, {"env": "NAME"}))
    assert MARK not in repr(Part(Referred(secret, {"env": "NAME"})))


@given(text=st.text(), secret=secrets)
def test_redaction_is_complete_and_stable(text: str, secret: str) -> None:
    once = redact(f"{text} redis://app:{secret.replace('://', '')}@host")
    assert MARK not in once
    assert redact(once) == once


def test_logs_show_no_url(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        store = RedisStore(f"redis://app:{MARK}@127.0.0.1:1/0")
        assert MARK not in store.explain()
    assert MARK not in caplog.text
