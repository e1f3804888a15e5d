"""Stores from URLs."""

from __future__ import annotations

import pytest

from kvwrap import ConfigurationError, MemoryStore, from_config, store_from_url, to_config
from kvwrap.core.registry import NEAREST, STORES
from kvwrap.core.validation import suggest
from tests.config.helpers import SECRET


def test_a_url_opens_the_store_of_its_scheme(tmp_path):
    assert isinstance(store_from_url("memory://"), MemoryStore)
    assert store_from_url(f"sqlite:///{tmp_path}/x.db").name == "SQLiteStore"
    assert store_from_url("null://").name == "NullStore"


def test_an_unknown_scheme_gets_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"memory.*redis.*sqlite"):
        store_from_url("zzzzz://host")
    with pytest.raises(ConfigurationError, match="did you mean 'redis'"):
        store_from_url("reddis://host")
    for wrong in ("", "redis", None, 3):
        with pytest.raises(ConfigurationError, match="scheme"):
            store_from_url(wrong)
    with pytest.raises(ConfigurationError, match="did you mean sqlite://"):
        store_from_url("sqlite:app.db")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("MySQL", "the nearest is 'postgresql'"),
        ("keydb", "the nearest is 'redis'"),
        ("SQLiteStore", "the name of that class is 'sqlite'"),
        ("objectstore", "the name of that class is 'az' or 's3'"),
        ("Redis", "did you mean 'redis'"),
        ("postgres", "did you mean 'postgresql'"),
    ],
)
def test_a_name_of_another_backend_or_of_a_class_leads_to_a_scheme(name: str, hint: str) -> None:
    for make in (
        lambda: store_from_url(f"{name}://host"),
        lambda: from_config({"store": {"type": name}}),
    ):
        with pytest.raises(ConfigurationError, match=hint):
            make()


def test_every_nearest_scheme_exists_and_is_not_what_the_spelling_leads_to() -> None:
    for name, scheme in NEAREST.items():
        assert scheme in STORES
        assert suggest(name, STORES) != f"did you mean {scheme!r}?"


def test_the_class_of_a_layer_leads_to_its_name() -> None:
    with pytest.raises(ConfigurationError, match="the name of that class is 'encrypt'"):
        from_config({"store": "memory://", "layers": ["Encryption"]})


def test_the_password_of_a_url_is_never_shown():
    url = f"redis://user:{SECRET}@localhost:1/0"
    store = from_config({"store": url})
    assert SECRET not in repr(store) + store.explain()
    with pytest.raises(ConfigurationError, match="secret") as caught:
        to_config(store)
    assert SECRET not in str(caught.value)
