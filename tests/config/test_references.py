"""References to the environment, files and code; their text is never shown."""

from __future__ import annotations

import pytest

import kvwrap
from kvwrap import ConfigurationError, MemoryStore, Statistics, TTLClamp, from_config, to_config
from tests.config.helpers import SECRET, layer, refused


def test_a_url_may_be_referred_to(monkeypatch, tmp_path):
    monkeypatch.setenv("TEST_URL", "memory://")
    assert isinstance(from_config({"store": {"env": "TEST_URL"}}), MemoryStore)
    assert isinstance(from_config({"store": {"url": {"env": "TEST_URL"}}}), MemoryStore)
    (tmp_path / "url").write_text("memory://\n")
    assert isinstance(from_config({"store": {"file": str(tmp_path / "url")}}), MemoryStore)


def test_numbers_and_switches_may_be_referred_to(monkeypatch):
    monkeypatch.setenv("TEST_MAX", "7")
    monkeypatch.setenv("TEST_TTL", "2.5")
    monkeypatch.setenv("TEST_YES", "true")
    store = from_config(
        {
            "store": "memory://",
            "layers": [
                {"type": "statistics", "max_collections": {"env": "TEST_MAX"}},
                {"type": "clamp_ttl", "maximum": {"env": "TEST_TTL"}},
                {"type": "trace", "keys": {"env": "TEST_YES"}},
            ],
        }
    )
    assert store.find(Statistics).max_collections == 7
    assert store.find(TTLClamp).maximum == 2.5
    text = refused(layer(type="statistics", max_collections={"env": "TEST_YES"}))
    assert "layers[0].max_collections" in text
    assert "a whole number, got the text of <env TEST_YES>" in text
    text = refused(layer(type="trace", keys={"env": "TEST_MAX"}))
    assert "layers[0].keys: expected true or false" in text
    store = from_config(layer(type="timeout", operations={"read": {"env": "TEST_TTL"}}))
    assert to_config(store)["layers"][0]["operations"] == {"read": {"env": "TEST_TTL"}}


def test_references_that_cannot_be_followed(monkeypatch, tmp_path):
    monkeypatch.delenv("TEST_NONE", raising=False)
    text = refused(layer(type="prefix_collection", prefix={"env": "TEST_NONE"}))
    assert "layers[0].prefix" in text
    assert "TEST_NONE" in text
    missing = str(tmp_path / "missing")
    assert missing in refused(layer(type="prefix_collection", prefix={"file": missing}))
    assert "TEST_NONE" in refused(layer(type="encrypt", keyring={"env": "TEST_NONE"}))
    assert "TEST_NONE" in refused({"store": {"env": "TEST_NONE"}})
    assert "string" in refused({"store": {"env": 3}})


def test_the_text_of_a_reference_is_never_shown(monkeypatch):
    monkeypatch.setenv("TEST_SECRET", SECRET)
    monkeypatch.setenv("TEST_URL", f"{SECRET}://user:{SECRET}@host/1")
    monkeypatch.setenv("TEST_BAD", f"redis://user:{SECRET}@host:port/x?{SECRET}=1")
    refused({"store": {"env": "TEST_SECRET"}})
    refused({"store": {"env": "TEST_URL"}})
    refused({"store": {"env": "TEST_BAD"}})
    refused({"store": {"url": {"env": "TEST_BAD"}}})
    refused({"store": {"type": "redis", "url": {"env": "TEST_BAD"}}})
    refused(layer(type="encrypt", keyring={"env": "TEST_SECRET"}))
    refused(layer(type="log", level={"env": "TEST_SECRET"}))
    refused(layer(type="read_through", near={"env": "TEST_URL"}))
    store = from_config(layer(type="prefix_collection", prefix={"env": "TEST_SECRET"}))
    for text in (repr(store), store.explain(), repr(to_config(store))):
        assert SECRET not in text
        assert "TEST_SECRET" in text


def test_keys_are_never_written_in_a_configuration():
    text = refused(layer(type="encrypt", keyring="k1:" + "A" * 43 + "="))
    assert "{env" in text
    assert "AAAA" not in text


async def test_references_to_code_are_followed_only_if_that_is_allowed():
    table = layer(type="validate", check={"python": "tests.config.helpers:only"})
    assert "python=True" in refused(table)
    store = from_config(table, python=True)
    with pytest.raises(kvwrap.InvalidValue):
        await store.put("a", "text")
    assert to_config(store) == table
    store = from_config({"store": {"python": "kvwrap:MemoryStore"}}, python=True)
    assert isinstance(store, MemoryStore)
    for wrong in ("kvwrap", "kvwrap:", "no_such_module:x", "kvwrap:Nothing", 3):
        assert "layers[0].check" in refused(
            layer(type="validate", check={"python": wrong}), python=True
        )
    for wrong, said in (
        ("builtins:dict", "expected a store or a factory of one, got dict"),
        ("kvwrap:Nothing", "cannot import 'kvwrap:Nothing'"),
    ):
        text = refused({"store": {"python": wrong}}, python=True)
        assert text.startswith(f"store: {said}")


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ({"stor": "memory://"}, "^stor: .*did you mean 'store'"),
        ({"store": {"evn": "URL"}}, "^store: .*did you mean 'env'"),
        (
            {"store": "memory://", "layers": [{"type": "hash_keys", "secret": {"flie": "/key"}}]},
            r"^layers\[0\].secret: .*did you mean 'file'",
        ),
        (
            {"store": "memory://", "layers": [{"type": "route", "routes": {"a": {"env ": "X"}}}]},
            r"^layers\[0\].routes.a: .*did you mean 'env'",
        ),
    ],
)
def test_a_misspelt_name_is_reported_even_if_something_else_is_missing(described, said):
    with pytest.raises(ConfigurationError, match=said):
        from_config(described)
