"""Draw the pictures of the documentation: `python -m scripts.drawings`.

Each is the drawing of a real stack, by `explain(svg=…)`. A test tells which of the files in
`docs/assets/drawings` are not what the stacks draw now.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from kvwrap import (
    Keyring,
    MemoryStore,
    Passthrough,
    PostgreSQLStore,
    RedisStore,
    SQLiteStore,
    Stack,
    StackWarning,
    Store,
    ValkeyStore,
    stack,
)
from kvwrap.builder import LAYERS
from kvwrap.core.drawing import draw

FOLDER = Path(__file__).parent.parent / "docs" / "assets" / "drawings"
KEYS = Keyring({"2026": b"a key of the drawings, 32 bytes."})
SECRET = b"a secret of the drawings"

Change = Callable[[Stack], Stack]

# The recommended order, outermost first: that of docs/layers/index.md.
RECOMMENDED: dict[str, Change] = {
    "statistics": lambda layers: layers.statistics(),
    "trace": lambda layers: layers.trace(),
    "log": lambda layers: layers.log(),
    "read_only": lambda layers: layers.read_only(),
    "validate": lambda layers: layers.validate(dict),
    "limit_size": lambda layers: layers.limit_size(64_000),
    "default_value": lambda layers: layers.default_value({}),
    "slide_ttl": lambda layers: layers.slide_ttl(1_800),
    "tags": lambda layers: layers.tags(SECRET),
    "read_through": lambda layers: layers.read_through(MemoryStore, ttl=30),
    "passthrough": lambda layers: layers.layer(Passthrough()),
    "clamp_ttl": lambda layers: layers.clamp_ttl(maximum=86_400, default=3_600),
    "hash_keys": lambda layers: layers.hash_keys(SECRET),
    "prefix_collection": lambda layers: layers.prefix_collection("shop-"),
    "prefix_key": lambda layers: layers.prefix_key("shop/"),
    "single_collection": lambda layers: layers.single_collection("all"),
    "serialize": lambda layers: layers.serialize("msgpack"),
    "compress": lambda layers: layers.compress(),
    "encrypt": lambda layers: layers.encrypt(KEYS),
    "fallback": lambda layers: layers.fallback(lambda: SQLiteStore("fallback.db")),
    "write_behind": lambda layers: layers.write_behind("journal"),
    "shadow": lambda layers: layers.shadow(postgresql),
    "route": lambda layers: layers.route({"logs-*": lambda: SQLiteStore("logs.db")}),
    "shard": lambda layers: layers.shard({"b": redis, "c": redis}, name="a"),
    "replicate": lambda layers: layers.replicate([redis, redis]),
    "coalesce": lambda layers: layers.coalesce(),
    "retry": lambda layers: layers.retry(),
    "limit_rate": lambda layers: layers.limit_rate(1_000),
    "limit_concurrency": lambda layers: layers.limit_concurrency(64),
    "circuit_breaker": lambda layers: layers.circuit_breaker(),
    "timeout": lambda layers: layers.timeout(2),
    "chaos": lambda layers: layers.chaos().silence("chaos-over-real-data"),
}
SURROUNDINGS = ("statistics", "read_through", "compress", "encrypt", "timeout")
"""The layers in the picture of each other layer, as far as there is no reason against one."""
WITHOUT = {
    "read_only": {"encrypt"},
    "serialize": {"statistics"},
    "replicate": {"timeout"},
    "shard": {"timeout"},
    "route": {"timeout"},
}
"""Layers that stay out of a picture: they would hide what it shows, or make it long."""


def near_copies() -> Store:
    return MemoryStore(max_entries=10_000)


def redis() -> Store:
    return RedisStore("redis://localhost:6379/0")


def postgresql() -> Store:
    return PostgreSQLStore("postgresql://localhost/shop")


def sessions() -> Stack:
    """Return the stack of the README."""
    return (
        stack()
        .statistics(name="sessions")
        .read_through(MemoryStore(max_entries=50_000), ttl=30, negative_ttl=5)
        .clamp_ttl(minimum=60, maximum=86_400, default=3_600)
        .compress(min_size=256)
        .encrypt(KEYS)
    )


def story() -> Store:
    """Return the last store of docs/story.md."""
    others = {
        "valkey": lambda: stack().timeout(2).over(ValkeyStore("valkey://localhost:6379/0")),
        "postgresql": lambda: stack().timeout(2).over(postgresql()),
    }
    return (
        stack()
        .read_through(MemoryStore(max_entries=50_000), ttl=30)
        .compress(min_size=256)
        .encrypt(KEYS)
        .replicate(others, write_quorum=2, read_quorum=2)
        .timeout(2)
        .over(redis())
    )


def of_layer(name: str) -> Store:
    """Return a recommended stack with this layer of the builder."""
    layers = stack()
    for each, add in RECOMMENDED.items():
        if each == name or (each in SURROUNDINGS and each not in WITHOUT.get(name, ())):
            layers = add(layers)
    return layers.over(redis())


def pictures() -> Iterator[tuple[str, str]]:
    """Yield the name of each picture, and the picture."""
    front = sessions().over(SQLiteStore("sessions.db"))
    yield "sessions", front.explain(svg=True)
    yield "sessions_calls", front.explain(svg="both")
    for name in RECOMMENDED:
        layer = LAYERS.get(name, Passthrough)
        store = of_layer(name)
        yield f"layer_{name}", draw(store, store.explain(), "both", layer)
    yield from guides()


def guides() -> Iterator[tuple[str, str]]:
    """Yield the pictures of the guides."""
    near = MemoryStore(max_entries=10_000)
    prices = (
        stack()
        .statistics(name="prices")
        .read_through(near, ttl=2, negative_ttl=1)
        .prefix_collection("shop-")
        .coalesce()
    )
    yield "memory_before_redis", prices.over(redis()).explain(svg="both")
    building = (
        stack()
        .statistics(name="sessions")
        .limit_size(1_000_000)
        .read_through(MemoryStore(max_entries=50_000), ttl=30)
        .clamp_ttl(maximum=86_400, default=3_600)
        .prefix_collection("sessions-")
        .compress(min_size=256)
        .encrypt(KEYS)
        .coalesce()
        .timeout(2)
    )
    yield "building", building.over(redis()).explain(svg=True)
    calm = stack().read_through(near_copies, ttl=30, refresh_ahead=0.8, jitter=0.1).coalesce()
    yield "cache_stampede", calm.over(redis()).explain(svg="read")
    yield "story", story().explain(svg="both")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StackWarning)  # its finding belongs into the picture
        users = stack().statistics(name="users").serialize("json")
        existing = users.encrypt(KEYS, accept_plaintext=True).over(redis())
    yield "existing_data", existing.explain(svg="both")


def main() -> int:
    """Write all pictures, and remove those that no stack draws any more."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    drawn = dict(pictures())
    for path in FOLDER.glob("*.svg"):
        if path.stem not in drawn:
            path.unlink()
    for name, picture in drawn.items():
        (FOLDER / f"{name}.svg").write_text(picture, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
