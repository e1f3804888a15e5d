"""Stores from URLs."""

from __future__ import annotations

import pytest

from kvwrap import ConfigurationError, MemoryStore, from_config, store_from_url, to_config
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


def test_the_password_of_a_url_is_never_shown():
    url = f"redis://user:{SECRET}@localhost:1/0"
    store = from_config({"store": url})
    assert SECRET not in repr(store) + store.explain()
    with pytest.raises(ConfigurationError, match="secret") as caught:
        to_config(store)
    assert SECRET not in str(caught.value)
