"""requests-cache over a stack of kvwrap, with its own session and a server of the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from requests_cache import CachedSession

from kvwrap import Chaos, ConfigurationError, Keyring, MemoryStore, SQLiteStore, Store, stack
from kvwrap.integrations.requests_cache import KvwrapBackend
from kvwrap.testing import ManualClock


class Site(BaseHTTPRequestHandler):
    """Counts its requests; `/old` redirects."""

    count = 0

    def do_GET(self) -> None:
        type(self).count += 1
        self.send_response(302 if self.path == "/old" else 200)
        body = b"" if self.path == "/old" else f"confidential {self.count}".encode()
        self.send_header("location", "/new")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    Site.count = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def session(store: Store, seconds: int = 60) -> CachedSession:
    return CachedSession(backend=KvwrapBackend(store), expire_after=seconds)


def test_responses_and_redirects(site: str) -> None:
    with session(MemoryStore()) as http:
        first = http.get(f"{site}/new")
        again = http.get(f"{site}/new")
        assert again.from_cache
        assert again.content == first.content
        assert http.get(f"{site}/old").text == "confidential 1"
        assert http.get(f"{site}/old").from_cache
        assert len(http.cache.responses) == len(list(http.cache.responses)) > 0
        assert len(http.cache.redirects) == 1
        http.cache.delete(urls=[f"{site}/new"])
        assert not http.get(f"{site}/new").from_cache
        http.cache.clear()
        assert len(http.cache.responses) == 0
        with pytest.raises(KeyError):
            del http.cache.responses["missing"]


def test_a_response_is_kept_for_a_while_after_its_expiry(site: str, clock: ManualClock) -> None:
    with session(MemoryStore(clock=clock)) as http:
        http.get(f"{site}/new")
        clock.advance(60 + 3599)
        assert len(http.cache.responses) == 1
        clock.advance(2)
        assert len(http.cache.responses) == 0


def test_nothing_is_readable_at_rest(site: str, tmp_path: Path) -> None:
    keys = Keyring.generate()
    for is_cached in (False, True):
        store = stack().encrypt(keys).over(SQLiteStore(tmp_path / "cache.db"))
        with session(store) as http:
            assert http.get(f"{site}/new").from_cache is is_cached
    held = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert b"http_cache/responses" in held
    assert b"confidential" not in held


def test_requests_are_sent_while_the_store_is_down(site: str) -> None:
    store = stack().chaos().over(MemoryStore())
    with session(store) as http:
        store.find(Chaos).down = True
        for number in (1, 2):
            response = http.get(f"{site}/new")
            assert not response.from_cache
            assert response.text == f"confidential {number}"


def test_bad_arguments() -> None:
    with pytest.raises(ConfigurationError, match="`store`"):
        KvwrapBackend(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="`stale_for`"):
        KvwrapBackend(MemoryStore(), stale_for=0)
