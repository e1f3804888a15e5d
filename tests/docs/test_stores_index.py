"""The table of capabilities matches `capabilities` of every store."""

from __future__ import annotations

import re
from pathlib import Path
from shelve import Shelf

from diskcache import Cache as DiskCache
from django.core.cache.backends.locmem import LocMemCache
from key_value.aio.stores.memory import MemoryStore as TheirMemoryStore

from kvwrap import (
    Capability,
    DynamoDBStore,
    ElasticsearchStore,
    EtcdStore,
    FileTreeStore,
    LMDBStore,
    MemcachedStore,
    MemoryStore,
    MongoDBStore,
    NATSStore,
    NullStore,
    ObjectStore,
    PostgreSQLStore,
    RedisStore,
    SQLiteStore,
    Store,
    ValkeyStore,
    adapt,
)
from kvwrap.core.registry import STORES

PAGE = (Path(__file__).parents[2] / "docs" / "stores" / "index.md").read_text()


def stores() -> dict[str, Store]:
    return {
        "`MemoryStore`": MemoryStore(),
        "`SQLiteStore`": SQLiteStore("entries.db"),
        "`LMDBStore`": LMDBStore("entries"),
        "`FileTreeStore`": FileTreeStore("folder"),
        "`RedisStore`": RedisStore(),
        "`RedisStore`, `raw=True`": RedisStore(raw=True),
        "`ValkeyStore`": ValkeyStore(),
        "`PostgreSQLStore`": PostgreSQLStore("postgresql://localhost/shop"),
        "`MemcachedStore`": MemcachedStore(),
        "`MemcachedStore`, `enumerate=True`": MemcachedStore(enumerate=True),
        "`DynamoDBStore`": DynamoDBStore(region="eu-1"),
        "`MongoDBStore`": MongoDBStore("mongodb://localhost"),
        "`ElasticsearchStore`": ElasticsearchStore("opensearch://localhost"),
        "`NATSStore`": NATSStore("nats://localhost"),
        "`EtcdStore`": EtcdStore("etcd://localhost"),
        "`ObjectStore`": ObjectStore("s3://bucket"),
        "`ObjectStore`, `raw=True`": ObjectStore("s3://bucket", raw=True),
        "`NullStore`": NullStore(),
        "a mapping": adapt({}),
        "py-key-value's `MemoryStore`": adapt(TheirMemoryStore()),
        "a shelf": adapt(Shelf({})),
        "a cache of Django": adapt(LocMemCache("name", {})),
        "a cache of diskcache": adapt(DiskCache.__new__(DiskCache)),
    }


def missing() -> dict[str, set[str]]:
    """Return the capabilities that the page says each store does not have."""
    table = PAGE.partition("| store | does not have |\n")[2].partition("\n\n")[0]
    rows = [row.strip("|").split(" | ") for row in table.splitlines()[1:]]
    return {store.strip(): set(re.findall(r"`(\w+)`", names)) for store, names in rows}


def test_the_table_of_capabilities_matches_the_stores() -> None:
    found = {
        title: {each.name for each in set(Capability) - store.capabilities}
        for title, store in stores().items()
    }
    assert missing() == found
    assert list(missing()) == list(found)


def test_every_store_is_in_the_table() -> None:
    classes = {path.partition(":")[2] for path in STORES.values()}
    assert classes <= {type(store).__name__ for store in stores().values()}


def test_every_page_is_in_the_list() -> None:
    pages = {page.name for page in (Path(__file__).parents[2] / "docs" / "stores").glob("*.md")}
    assert pages - {"index.md"} == set(re.findall(r"\]\((\w+\.md)\)", PAGE))
