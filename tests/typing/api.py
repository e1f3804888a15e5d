"""What type checkers make of the public interface: checked by mypy, never run.

A line with `type: ignore[...]` must be an error: an unused ignore is one too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, MutableMapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypedDict, assert_type

import msgspec
import pydantic
from prometheus_client import CollectorRegistry

import kvwrap
from kvwrap import (
    Capability,
    Encryption,
    Keyring,
    KvwrapError,
    MemoryStore,
    Passthrough,
    PrefixCollection,
    SQLiteStore,
    Stack,
    Statistics,
    Store,
    SyncStore,
    Tags,
    TTLClamp,
    TypedStore,
    Versioned,
    from_config,
    stack,
    store_from_url,
    to_config,
)
from kvwrap.core.typed import TypedVersioned
from kvwrap.integrations import opentelemetry, prometheus
from kvwrap.layers.statistics.counts import Snapshot
from kvwrap.views.mapping import StoreMapping

assert_type(kvwrap.__version__, str)
kvwrap.no_such_name  # type: ignore[attr-defined]

# -- stacks: each builder method takes what its class takes ------------------------------------

keyring = Keyring.from_env("KEYS")
built = stack().clamp_ttl(maximum=60).prefix_collection("app-").encrypt(keyring)
assert_type(built, Stack)
assert_type(built + stack(TTLClamp(maximum=1)), Stack)
assert_type(built.layer(PrefixCollection("x")).silence("code"), Stack)
store = built.over(MemoryStore())
assert_type(store, Store)
assert_type(TTLClamp(minimum=timedelta(seconds=1)).over({}), Store)

assert_type(stack().slide_ttl(60, at_most_every=timedelta(seconds=6)), Stack)

stack().slide_ttl()  # type: ignore[call-arg]
stack().clamp_ttl(maximun=60)  # type: ignore[call-arg]
stack().clamp_ttl(60)  # type: ignore[call-arg]
stack().clamp_ttl(maximum="1 minute")  # type: ignore[arg-type]
stack().prefix_collection()  # type: ignore[call-arg]
stack().prefix_collection(prefix=3)  # type: ignore[arg-type]
stack().statistics(name=3)  # type: ignore[arg-type]
stack().read_only(on_write="shout")  # type: ignore[arg-type]
stack().no_such_layer()  # type: ignore[attr-defined]
stack().get("a")  # type: ignore[attr-defined]
stack().encrypt(keyrng=keyring)  # type: ignore[call-arg]
stack().silence(3)  # type: ignore[arg-type]
assert_type(Stack.encrypt(built, keyring, seal=False), Stack)
stack().layer("statistics")  # type: ignore[arg-type]

assert_type(SQLiteStore("sessions.db"), SQLiteStore)
assert_type(SQLiteStore.from_url("sqlite:///sessions.db"), SQLiteStore)
MemoryStore(max_entries="3")  # type: ignore[arg-type]
MemoryStore(3)  # type: ignore[call-arg]


# -- stores ------------------------------------------------------------------------------------


async def of_a_store(store: Store) -> None:
    assert_type(await store.get("a"), Any | None)
    assert_type(await store.get_many(["a"], collection="c"), list[Any | None])
    assert_type(await store.ttl("a"), tuple[Any | None, float | None])
    assert_type(await store.put("a", 1, ttl=timedelta(hours=1)), None)
    assert_type(await store.delete("a"), bool)
    assert_type(await store.delete_many(("a", "b")), int)
    assert_type(await store.keys("c", limit=3), list[str])
    assert_type(await store.increment("a"), int)
    assert_type(await store.put_if_absent("a", 1), bool)
    assert_type(await store.get_versioned("a"), Versioned | None)
    assert_type(await store.compare_and_delete("a", 1), bool)
    assert_type(await store.put_many(["a", "b"], [1, 2], ttl=[1, None]), None)
    assert_type(await store.count(collection="c", prefix="a"), int)
    assert_type(await store.delete_where(prefix="a"), int)
    await store.delete_where("c")  # type: ignore[call-arg]
    assert_type(store.scan(prefix="a"), AsyncIterator[str])
    assert_type(store.items(), AsyncIterator[tuple[str, Any]])
    assert_type(store.capabilities, frozenset[Capability])
    assert_type(store.explain(), str)
    async with store as opened:
        assert_type(opened, Store)

    await store.get(3)  # type: ignore[arg-type]
    await store.get("a", "collection")  # type: ignore[call-arg]
    await store.put("a")  # type: ignore[call-arg]
    await store.put("a", 1, ttl="1")  # type: ignore[arg-type]
    await store.put_many(["a"], [1], ttl=["1"])  # type: ignore[list-item]
    await store.compare_and_delete("a")  # type: ignore[call-arg]
    await store.increment("a", 0.5)  # type: ignore[arg-type]


def finding(store: Store) -> None:
    assert_type(store.find(Statistics), Statistics)
    assert_type(store.find(Statistics).snapshot(), Snapshot)
    assert_type(store.find(Statistics).snapshot().reads.hit_rate, float)
    assert_type(store.find(Encryption), Encryption)
    assert_type(store.find(MemoryStore), MemoryStore)


class Counting(Passthrough):
    """A layer of one's own."""

    def __init__(self, start: int = 0) -> None:
        self.count = start


assert_type(Counting(1).over(MemoryStore()).find(Counting).count, int)


# -- typed views -------------------------------------------------------------------------------


@dataclass
class User:
    name: str


class Session(pydantic.BaseModel):
    user: str


class Point(msgspec.Struct):
    x: int


class Options(TypedDict):
    dark: bool


async def typed(store: Store) -> None:
    users = store.typed(User, collection="users")
    assert_type(users, TypedStore[User])
    assert_type(await users.get("a"), User | None)
    assert_type(await users.get_many(["a"]), list[User | None])
    assert_type(await users.ttl("a"), tuple[User | None, float | None])
    assert_type(await users.require("a"), User)
    assert_type(await users.pop("a"), User | None)
    assert_type(await users.get_versioned("a"), TypedVersioned[User] | None)
    assert_type(await users.get_or_put("a", lambda: User("ada")), User)
    assert_type([pair async for pair in users.items()], list[tuple[str, User]])
    await users.put("a", User("ada"), ttl=5)
    await users.put_many(["a"], [User("ada")])
    await users.put_many(["a", "b"], [User("ada"), User("bob")], ttl=(timedelta(days=1), None))
    assert_type(await users.compare_and_delete("a", 1), bool)
    assert_type(await users.count(prefix="a"), int)
    assert_type(await users.delete_where(prefix="a"), int)
    await users.put("a", User("ada"), tags=["users"])
    await users.get_or_put("a", lambda: User("ada"), tags=lambda user: [user.name])
    await users.put("a", {"name": "ada"})  # type: ignore[arg-type]
    await users.put_many(["a"], [Session(user="ada")])  # type: ignore[list-item]
    store.typed(User, on_invalid="skip")  # type: ignore[arg-type]

    assert_type(await store.typed(Session).get("a"), Session | None)
    assert_type(await store.typed(Point).get("a"), Point | None)
    assert_type(await store.typed(Options).get("a"), Options | None)
    assert_type(await store.typed(list[User]).get("a"), list[User] | None)


# -- cached functions --------------------------------------------------------------------------


@MemoryStore().cached(ttl=60, collection="rates")
async def rate(currency: str, *, day: int = 0) -> float:
    return 1.0


async def cached() -> None:
    assert_type(await rate("EUR"), float)
    assert_type(await rate("EUR", day=3), float)
    assert_type(await rate.invalidate("EUR"), bool)
    assert_type(rate.key("EUR", day=1), str)
    await rate(3)  # type: ignore[arg-type]
    await rate.invalidate()  # type: ignore[call-arg]
    await rate("EUR", days=1)  # type: ignore[call-arg]

    def plain() -> int:
        return 1

    MemoryStore().cached()(plain)  # type: ignore[arg-type]
    MemoryStore().cached(on_error="ignore")  # type: ignore[arg-type]
    MemoryStore().cached(soft_timeout="1")  # type: ignore[arg-type]


@MemoryStore().cached_many(ttl=60)
async def rates(currencies: list[str]) -> dict[str, float]:
    return dict.fromkeys(currencies, 1.0)


async def batches(store: Store) -> None:
    assert_type(await rates.invalidate("EUR"), bool)
    assert_type(rates.key("EUR"), str)
    assert_type(await store.get_or_put_many(["a"], lambda keys: {"a": 1}), list[Any])
    await store.get_or_put_many(["a"], lambda keys: {}, tags=["t"], ttl=timedelta(days=1))
    await store.get_or_put_many(["a"], lambda keys: [1])  # type: ignore[arg-type,return-value]
    await store.put_many(["a"], [1], tags=("t", "u"))
    await store.put("a", 1, tags=5)  # type: ignore[arg-type]
    await store.find(Tags).invalidate("t", "u")


class Repository:
    @MemoryStore().cached(ttl=lambda value: 5, keep=lambda value: True, stale_ttl=60)
    async def order(self, number: int) -> str:
        return ""


async def cached_method(repository: Repository) -> None:
    assert_type(await repository.order(1), str)
    assert_type(repository.order.key(1), str)
    assert_type(await repository.order.invalidate(number=1), bool)
    await repository.order("1")  # type: ignore[arg-type]
    assert_type(await Repository.order(repository, 1), str)


def cached_plain(view: SyncStore) -> None:
    @view.cached(ttl=60)
    def square(number: int) -> int:
        return number * number

    assert_type(square(3), int)
    assert_type(square.invalidate(3), bool)
    assert_type(square.key(number=3), str)
    square("3")  # type: ignore[arg-type]
    view.get_or_put("a", lambda: 1, ttl=lambda value: None, on_error="compute")

    users = view.typed(User, collection="users")
    assert_type(users.get("a"), User | None)
    assert_type(users.require("a"), User)
    assert_type(users.get_or_put("a", lambda: User("ada")), User)
    assert_type(users.items(), Iterator[tuple[str, User]])
    users.put("a", {"name": "ada"})  # type: ignore[arg-type]


# -- blocking views ----------------------------------------------------------------------------


def blocking(store: Store) -> None:
    with kvwrap.sync(store) as view:
        assert_type(view, SyncStore)
        assert_type(view.get("a", collection="c"), Any | None)
        assert_type(view.ttl("a"), tuple[Any | None, float | None])
        assert_type(view.delete_many(["a"]), int)
        assert_type(view.increment("a", 2), int)
        assert_type(view.compare_and_delete("a", 1), bool)
        assert_type(view.count(prefix="a"), int)
        assert_type(view.delete_where(collection="c"), int)
        view.put_many(["a", "b"], [1, 2], ttl=[5, None])
        assert_type(view.scan(prefix="a"), Iterator[str])
        assert_type(view.items(), Iterator[tuple[str, Any]])
        assert_type(view.find(Statistics), Statistics)
        assert_type(view.run(store.delete("a")), bool)
        view.get()  # type: ignore[call-arg]
        view.put("a", 1, ttl="x")  # type: ignore[arg-type]
        view.get("a", colection="c")  # type: ignore[call-arg]

    users = kvwrap.mapping(store, "users", ttl=5)
    assert_type(users, StoreMapping)
    as_mapping: MutableMapping[str, Any] = users
    assert_type(as_mapping["a"], Any)
    assert_type(users.get_many(["a"]), dict[str, Any])
    users[3] = 1  # type: ignore[index]


# -- configurations and exporters --------------------------------------------------------------

assert_type(from_config("stack.toml"), Store)
assert_type(from_config({"store": "memory://"}, python=True), Store)
assert_type(kvwrap.stack_from_config({"layers": []}), Stack)
assert_type(store_from_url("redis://localhost"), Store)
assert_type(to_config(store), dict[str, Any])
assert_type(to_config(built), dict[str, Any])
from_config(3)  # type: ignore[arg-type]

prometheus.register(store, registry=CollectorRegistry())
opentelemetry.register(store, store)
prometheus.register(built)  # type: ignore[arg-type]


# -- errors ------------------------------------------------------------------------------------


def errors(error: KvwrapError) -> None:
    assert_type(error.key, str | None)
    assert_type(error.succeeded, tuple[str, ...] | None)
