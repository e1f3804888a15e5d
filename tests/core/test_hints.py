"""Typical mistakes with a store: each message says what to write instead."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from kvwrap import (
    ConfigurationError,
    InvalidBatch,
    InvalidKey,
    InvalidTTL,
    InvalidValue,
    KeyNotFound,
    MemoryStore,
    Passthrough,
    ReadThrough,
    Statistics,
    Store,
    StoreUnavailable,
    stack,
    sync,
)


def enter(store: Any) -> None:
    with store:
        pass


def assign(store: Any) -> None:
    store["a"] = 1


def delete(store: Any) -> None:
    del store["a"]


def decorate(store: Any) -> None:
    @store.cached
    async def double(number: int) -> int:
        return 2 * number


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (enter, "async with"),
        (enter, "kvwrap.sync"),
        (lambda store: store["a"], "await store.get(key)"),
        (lambda store: store["a"], "kvwrap.mapping(store)"),
        (assign, "await store.put(key, value)"),
        (delete, "await store.delete(key)"),
        (lambda store: "a" in store, "await store.exists(key)"),
        (list, "not iterable"),
        (decorate, "write @store.cached()"),
    ],
)
@pytest.mark.parametrize(
    "store", [MemoryStore(), Passthrough().over(MemoryStore())], ids=["store", "layered"]
)
def test_a_use_that_a_store_does_not_support(
    store: Store, use: Callable[[Any], Any], message: str
) -> None:
    with pytest.raises(TypeError) as raised:
        use(store)
    assert message in str(raised.value)


def test_a_store_is_not_iterable_to_others() -> None:
    assert not isinstance(MemoryStore(), Iterable)
    assert not hasattr(MemoryStore(), "clear")
    assert MemoryStore()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (1, "a key must be a str; got int: convert it with str()"),
        (b"a", "a key must be a str; got bytes: convert it with .decode()"),
        (None, "a key must be a str; got NoneType"),
        ("", "a key must have at least one character; got ''"),
        ("\ud800", "a key must be valid Unicode, without lone surrogates; got '\\ud800'"),
    ],
)
async def test_an_invalid_key(key: Any, message: str) -> None:
    for call in (MemoryStore().get(key), MemoryStore().put(key, 1), MemoryStore().delete(key)):
        with pytest.raises(InvalidKey) as raised:
            await call
        assert str(raised.value) == message


async def test_an_invalid_collection() -> None:
    with pytest.raises(InvalidKey, match="a collection must be a str; got int"):
        await MemoryStore().get("a", collection=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ttl", "message"),
    [
        ("5m", "got str: write timedelta(minutes=5), or 300"),
        (datetime.datetime(2026, 1, 1), "got datetime: a ttl is a duration"),
        (True, "got bool"),
        (0, "got 0.0 (None means no expiry)"),
        (-1, "got -1.0 (None means no expiry)"),
        (float("inf"), "got inf (None means no expiry)"),
        (10**400, "got int"),
    ],
    ids=["text", "datetime", "bool", "zero", "negative", "infinite", "huge"],
)
async def test_an_invalid_ttl(ttl: Any, message: str) -> None:
    rule = "a ttl must be a finite number of seconds above 0, or a timedelta; "
    with pytest.raises(InvalidTTL) as raised:
        await MemoryStore().put("a", 1, ttl=ttl)
    assert str(raised.value).startswith(rule + message)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda store: store.get_many("abc"), "got a single str: use [key]"),
        (lambda store: store.get_many(5), "such as ['a', 'b']; got int"),
        (lambda store: store.put_many(["a"], {"a": 1}), "got dict: use list(mapping.values())"),
        (
            lambda store: store.put_many(["a"], "x"),
            "`values` must be a sequence of values; got str",
        ),
        (
            lambda store: store.put_many(["a"], [1, 2]),
            "must have the same length; got 1 keys and 2 values. Nothing was written",
        ),
    ],
)
async def test_an_invalid_batch(call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(InvalidBatch) as raised:
        await call(MemoryStore())
    assert message in str(raised.value)


async def test_other_arguments() -> None:
    store = MemoryStore()
    await store.put("text", "hunter2")
    calls = [
        (store.keys(limit="5"), "`limit` must be an int or None; got str"),  # type: ignore[arg-type]
        (store.increment("n", 1.5), "`delta` must be an int; got float"),  # type: ignore[arg-type]
        (store.increment("n", initial="0"), "`initial` must be an int; got str"),  # type: ignore[arg-type]
        (store.increment("text"), "needs a stored value of type int; this one is of type str"),
        (
            store.compare_and_put("text", 1, None),  # type: ignore[arg-type]
            "`version` must be an int, the `version` of what get_versioned returned; got NoneType",
        ),
    ]
    for call, message in calls:
        with pytest.raises(InvalidValue) as raised:
            await call
        assert message in str(raised.value)
        assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: MemoryStore(maxsize=5),  # type: ignore[call-arg]  # what is to be refused
            "MemoryStore() has no argument 'maxsize': did you mean 'max_entries'?",
        ),
        (
            lambda: MemoryStore(max_bytez=5),  # type: ignore[call-arg]  # what is to be refused
            "MemoryStore() has no argument 'max_bytez': did you mean 'max_bytes'?",
        ),
        (
            lambda: Statistics(nam="a"),  # type: ignore[call-arg]  # what is to be refused
            "Statistics() has no argument 'nam': did you mean 'name'?",
        ),
        (
            lambda: Passthrough(zzz=1),  # type: ignore[call-arg]  # what is to be refused
            "Passthrough() has no argument 'zzz': it takes none",
        ),
        (
            lambda: ReadThrough(ttl=3),  # type: ignore[call-arg]  # what is to be refused
            (
                "ReadThrough() must have the argument 'near', such as "
                "MemoryStore(max_entries=10_000); it is missing"
            ),
        ),
        (
            lambda: ReadThrough(nera=MemoryStore(), ttl=3),  # type: ignore[call-arg]
            "ReadThrough() has no argument 'nera': did you mean 'near'?",
        ),
        (
            lambda: stack().clamp_ttl().read_through(ttl=3),  # type: ignore[call-arg]
            (
                "read_through() must have the argument 'near', such as "
                "MemoryStore(max_entries=10_000); it is missing"
            ),
        ),
    ],
)
def test_an_unknown_argument_of_a_constructor(make: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError) as raised:
        make()
    assert str(raised.value) == message


def test_a_constructor_may_take_any_argument() -> None:
    class Open(Passthrough):
        def __init__(self, **options: int) -> None:
            self.options = options

    assert Open(maxsize=5).options == {"maxsize": 5}


@pytest.mark.parametrize("store", [MemoryStore(), sync(MemoryStore())], ids=["async", "blocking"])
def test_an_argument_by_position_is_refused_in_the_name_of_the_store(store: Any) -> None:
    for method in (store.count, store.delete_where):
        with pytest.raises(TypeError, match=rf"^Store\.{method.__name__}\(\) takes 1 positional"):
            method("orders")


@pytest.mark.parametrize("name", ["get", "put_many", "increment", "get_or_put", "keys", "typed"])
def test_every_method_has_the_name_of_the_store(name: str) -> None:
    with pytest.raises(TypeError, match=rf"^Store\.{name}\(\) "):
        getattr(MemoryStore(), name)(1, 2, 3, 4, 5)


async def test_a_missing_key() -> None:
    with pytest.raises(KeyNotFound, match=r"the key has no value \(store MemoryStore, key 'nope'"):
        await MemoryStore().require("nope")


def test_a_missing_layer() -> None:
    with pytest.raises(
        ConfigurationError, match="this stack has no Statistics: its parts are Passthrough, Memory"
    ):
        stack(Passthrough()).over(MemoryStore()).find(Statistics)


def test_a_cached_function_must_be_async() -> None:
    def double(number: int) -> int:
        return 2 * number

    with pytest.raises(
        ConfigurationError, match=r"a cached function must be async; got .*double: declare it with"
    ):
        MemoryStore().cached()(double)  # type: ignore[arg-type]


async def test_a_closed_store() -> None:
    store = MemoryStore()
    async with store:
        pass
    with pytest.raises(StoreUnavailable, match=r"MemoryStore is closed: open it again with `async"):
        await store.get("a")


def test_a_second_store_of_two_stacks() -> None:
    near = MemoryStore()
    stack().read_through(near, ttl=1).over(MemoryStore())
    with pytest.raises(ConfigurationError, match=r"Pass a factory, such as lambda: MemoryStore"):
        stack().read_through(near, ttl=1).over(MemoryStore())
