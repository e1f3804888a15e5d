"""The cache of Flask-Caching over a stack of kvwrap.

In the configuration of a Flask application:

    CACHE_TYPE = "kvwrap.integrations.flask_caching.FlaskCache"
    CACHE_OPTIONS = {"store": "redis://localhost:6379/0"}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvwrap.core.optional import need
from kvwrap.integrations.cachelib import KvwrapCache

if TYPE_CHECKING:
    from flask import Flask
    from flask_caching.backends.base import BaseCache
else:
    BaseCache = need(
        "flask_caching.backends.base", extra="flask-caching", wanted_by=__name__
    ).BaseCache


class FlaskCache(KvwrapCache, BaseCache):
    """Is `KvwrapCache` for Flask-Caching; `CACHE_OPTIONS` has its arguments.

    `CACHE_KEY_PREFIX`, if there is one, is the collection, unless the options name one.
    """

    @classmethod
    def factory(
        cls, app: Flask, config: dict[str, Any], args: list[Any], kwargs: dict[str, Any]
    ) -> FlaskCache:
        """Return the cache that a configuration describes; called by Flask-Caching."""
        if config.get("CACHE_KEY_PREFIX"):
            kwargs.setdefault("collection", config["CACHE_KEY_PREFIX"].rstrip(":_-/"))
        return cls(*args, **kwargs)
