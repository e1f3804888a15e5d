"""cachelib and Flask-Caching over a stack of kvwrap."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_caching import Cache

from kvwrap import Chaos, ConfigurationError, Keyring, MemoryStore, SerializationError, stack
from kvwrap.integrations.cachelib import KvwrapCache
from kvwrap.integrations.flask_caching import FlaskCache
from kvwrap.testing import ManualClock


@pytest.fixture
def cache(clock: ManualClock) -> Iterator[KvwrapCache]:
    cache = KvwrapCache(MemoryStore(clock=clock))
    yield cache
    cache.store.close()


def test_every_method(cache: KvwrapCache) -> None:
    assert cache.get("k") is None
    assert cache.set("k", {"n": 1})
    assert cache.get("k") == {"n": 1}
    assert cache.has("k")
    assert not cache.add("k", 2)
    assert cache.add("k2", 2)
    assert cache.set_many({"a": 1, "b": 2}) == ["a", "b"]
    assert cache.get_many("a", "missing", "b") == [1, None, 2]
    assert cache.get_dict("a", "b") == {"a": 1, "b": 2}
    assert cache.delete("k")
    assert not cache.delete("k")
    assert cache.delete_many("a", "b", "missing") == ["a", "b", "missing"]
    assert (cache.inc("n"), cache.inc("n", 4), cache.dec("n", 2)) == (1, 5, 3)
    assert cache.clear()
    assert not cache.has("k2")


def test_timeouts(cache: KvwrapCache, clock: ManualClock) -> None:
    cache.set("default", 1)
    cache.set("short", 1, timeout=10)
    cache.set("delta", 1, timeout=timedelta(seconds=20))
    cache.set("never", 1, timeout=0)
    expected = [(11, [1, None, 1, 1]), (10, [1, None, None, 1]), (280, [None, None, None, 1])]
    for seconds, found in expected:
        clock.advance(seconds)
        assert cache.get_many("default", "short", "delta", "never") == found


def test_threads_count_together(cache: KvwrapCache) -> None:
    threads = [
        threading.Thread(target=lambda: [cache.inc("n") for _ in range(20)]) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.get("n") == 100


def test_a_store_that_is_down_is_a_cache_without_entries(caplog: pytest.LogCaptureFixture) -> None:
    store = stack().chaos().over(MemoryStore())
    cache = KvwrapCache(store)
    cache.set("k", 1)
    store.find(Chaos).down = True
    assert cache.get("k") is None
    assert cache.get_many("k") == [None]
    assert cache.set("k", "a secret")
    assert not cache.add("k", 1)
    assert not cache.delete("k")
    assert not cache.clear()
    assert cache.inc("n") is None
    assert "secret" not in caplog.text
    cache.store.close()


def test_values_that_the_serializer_does_not_take(cache: KvwrapCache) -> None:
    with pytest.raises(SerializationError):
        cache.set("k", object())


@pytest.mark.parametrize("options", [{"collection": "kvwrap.x"}, {"store": 3}])
def test_bad_arguments(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        KvwrapCache(**{"store": MemoryStore(), **options})


def make_app(store: Any, **config: Any) -> tuple[Flask, Cache]:
    app = Flask("shop")
    app.config.update(
        CACHE_TYPE="kvwrap.integrations.flask_caching.FlaskCache",
        CACHE_OPTIONS={"store": store},
        **config,
    )
    return app, Cache(app)


def test_flask_caching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_KEYS", Keyring.generate().reveal_text())
    settings = {
        "store": f"sqlite:///{tmp_path / 'cache.db'}",
        "layers": [{"type": "encrypt", "keyring": {"env": "CACHE_KEYS"}}],
    }
    app, cache = make_app(settings, CACHE_KEY_PREFIX="shop:", CACHE_DEFAULT_TIMEOUT=60)
    calls = []

    @app.get("/")
    @cache.cached()
    def page() -> str:
        calls.append(None)
        return "a confidential page"

    @cache.memoize()
    def add(a: int, b: int) -> int:
        calls.append(None)
        return a + b

    with app.app_context(), app.test_client() as http:
        for _ in range(2):
            assert http.get("/").text == "a confidential page"
            assert add(1, 2) == 3
        assert len(calls) == 2
        cache.delete_memoized(add)
        assert add(1, 2) == 3
        assert len(calls) == 3
        backend = cache.cache
        assert isinstance(backend, FlaskCache)
        assert backend.default_timeout == 60
        assert backend.store.collections() == ["shop"]
        backend.store.close()
    held = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert b"confidential" not in held


def test_flask_responds_without_its_cache() -> None:
    store = stack().chaos().over(MemoryStore())
    app, cache = make_app(store)

    @app.get("/")
    @cache.cached()
    def page() -> str:
        return "a page"

    store.find(Chaos).down = True
    with app.test_client() as http:
        for _ in range(2):
            assert http.get("/").text == "a page"
    with app.app_context():
        backend: Any = cache.cache
        backend.store.close()
