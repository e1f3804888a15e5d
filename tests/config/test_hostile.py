"""Configurations of an adversary, or of chance: they run no code, and every mistake is named."""

from __future__ import annotations

import pytest

from kvwrap import (
    ConfigurationError,
    MemoryStore,
    RedisStore,
    Serialization,
    from_config,
    to_config,
)
from kvwrap.core.serializer import PickleSerializer
from tests.config.helpers import SECRET, layer, refused

SURROGATE = "\ud800"


def nested(depth):
    table = "memory://"
    for _ in range(depth):
        table = {"store": table}
    return table


@pytest.mark.parametrize(
    "source",
    [
        layer(type="serialize", serializer="pickle"),
        {"store": {"type": "memory", "serializer": "pickle"}},
        layer(type="read_through", near={"type": "memory", "serializer": "pickle"}, ttl=1),
    ],
)
def test_pickle_needs_the_trust_of_code(source):
    assert "python=True" in refused(source)
    store = from_config(source, python=True)
    assert not store.is_open


def test_pickle_is_chosen_with_the_trust_of_code():
    store = from_config(layer(type="serialize", serializer="pickle"), python=True)
    assert isinstance(store.find(Serialization).serializer, PickleSerializer)


@pytest.mark.parametrize(
    "source",
    [
        nested(600),
        nested(5_000),
        {"store": {"file": "a\0b"}},
        {"store": {"env": "a\0b"}},
        {"store": {"env": SURROGATE}},
        {"store": {"file": SURROGATE}},
        {"store": f"{SURROGATE}://"},
        {"store": f"redis://{SURROGATE}?{SURROGATE}={SURROGATE}"},
        {"store": "memory://?" + "a=1&" * 1_000},
        {"store": "sqlite:///a\0b"},
        {"store": "redis://[::1"},
        {"store": {1: 2}},
        {5: 5, "store": "memory://"},
        {"store": "memory://", "layers": [{"type": "retry", 5: 5}]},
        {"store": "memory://", "silence": [[]]},
        layer(type="compress", algorithm=[]),
        layer(type="clamp_ttl", maximum=10**400),
    ],
)
def test_mistakes_of_any_kind_are_errors_of_kvwrap(source):
    assert refused(source)


@pytest.mark.usefixtures("no_garbage_collection")
@pytest.mark.parametrize(
    "text",
    [
        b"a = " + b"[" * 100_000,
        b'store = "memory://"\n[[layers]]\ntype="clamp_ttl"\nmaximum=' + b"9" * 5_000,
        b"\xff\xfe",
        b"#" * 2_000_000,
        b'store = "\\ud800"',
    ],
)
def test_files_of_any_content_are_errors_of_kvwrap(text, tmp_path):
    path = tmp_path / "stack.toml"
    path.write_bytes(text)
    assert str(path) in refused(path)


def test_paths_of_any_text_are_errors_of_kvwrap():
    assert refused("a\0b")
    assert refused("a\x1b[2Jb").isprintable()
    assert refused(SURROGATE)


def test_a_store_behind_a_reference_shows_the_reference_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("TEST_URL", f"redis://app:it's-{SECRET}@{SECRET}/0")
    for source in ({"env": "TEST_URL"}, {"url": {"env": "TEST_URL"}}):
        store = from_config({"store": source})
        for text in (repr(store), store.explain(), str(to_config(store))):
            assert SECRET not in text
            assert "TEST_URL" in text
    monkeypatch.setenv("TEST_URL", f"redis://127.0.0.1/0?timeout={SECRET}")
    assert "timeout" in refused({"store": {"env": "TEST_URL"}})


@pytest.mark.parametrize(
    "password", [f"it's-{SECRET}", f'a"{SECRET}', f"a {SECRET}", f"a@{SECRET}"]
)
def test_a_password_of_any_characters_is_not_shown(password):
    pytest.importorskip("redis")
    store = RedisStore(f"redis://app:{password}@127.0.0.1:1/0")
    assert SECRET not in repr(store)
    assert SECRET not in store.explain()
    with pytest.raises(ConfigurationError) as caught:
        to_config(store)
    assert SECRET not in str(caught.value)


def test_an_error_quotes_no_text_of_a_reference_however_it_is_written(monkeypatch):
    monkeypatch.setenv("TEST_SECRET", f"a'\\\"{SECRET}é")
    assert refused(layer(type="statistics", max_collections={"env": "TEST_SECRET"}))
    assert refused(layer(type="compress", algorithm={"env": "TEST_SECRET"}))
    assert isinstance(from_config({"store": "memory://"}), MemoryStore)
