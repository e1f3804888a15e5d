"""A Flask application with cached pages, and a client whose responses are cached, in one file.

    python -m examples.cached_flask cache.db

Both caches are collections of one encrypted SQLite file.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

from flask import Flask
from flask_caching import Cache
from requests_cache import CachedSession
from werkzeug.serving import make_server

from kvwrap import Keyring, SQLiteStore, Store, stack
from kvwrap.integrations.requests_cache import KvwrapBackend


def open_store(path: Path, keys: Keyring) -> Store:
    """Return the store of one of the caches."""
    return stack().encrypt(keys).over(SQLiteStore(path))


def build(store: Store) -> tuple[Flask, Cache]:
    """Build the application and its cache."""
    app = Flask("shop")
    app.config["CACHE_TYPE"] = "kvwrap.integrations.flask_caching.FlaskCache"
    app.config["CACHE_OPTIONS"] = {"store": store}
    cache = Cache(app)
    computed: list[str] = []

    @app.get("/<product>")
    @cache.cached(timeout=60)
    def page(product: str) -> str:
        computed.append(product)
        return f"page {len(computed)}: {product}"

    return app, cache


def main(path: Path) -> None:
    """Ask for a page by three clients, the last of which asks twice."""
    keys = Keyring.generate()  # in production: Keyring.from_env("CACHE_KEYS")
    app, cache = build(open_store(path, keys))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/tea"
    try:
        for _ in range(2):
            with app.test_client() as client:
                print("computed once:", client.get("/tea").text)
        backend = KvwrapBackend(open_store(path, keys))
        with CachedSession(backend=backend, expire_after=60) as session:
            for _ in range(2):
                response = session.get(url)
                print(f"{response.text}; from the client's cache: {response.from_cache}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        with app.app_context():
            pages: Any = cache.cache
            pages.store.close()
    print("readable in the file:", b"page 1" in path.read_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1] if sys.argv[1:] else "cache.db"))
