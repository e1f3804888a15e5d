"""Values that are computed with tags, and tags that change meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import kvwrap
from kvwrap import (
    ConfigurationError,
    MemoryStore,
    Store,
    StoreUnavailable,
    Tags,
    UnsupportedOperation,
    stack,
)
from kvwrap.testing import ManualClock
from tests.layers.tags.shared import Counting, tagged

TAGS: dict[str, Any] = {"a list": ["t"], "a function": lambda value: ["t", value]}


@pytest.mark.parametrize("tags", TAGS.values(), ids=TAGS)
async def test_results_have_tags(clock: ManualClock, tags: Any) -> None:
    store = tagged(clock)
    assert await store.get_or_put("a", lambda: "x", tags=tags) == "x"
    assert await store.get_or_put("a", lambda: "y", tags=tags) == "x"
    await store.find(Tags).invalidate("t")
    assert await store.get_or_put("a", lambda: "y", tags=tags) == "y"


@pytest.mark.parametrize("what", ["invalidate", "expire", "clear"])
@pytest.mark.parametrize("tags", TAGS.values(), ids=TAGS)
async def test_what_is_invalidated_while_it_is_computed_is_not_served_later(
    clock: ManualClock, tags: Any, what: str
) -> None:
    store = tagged(clock)
    part = store.find(Tags)

    async def factory() -> str:
        await (part.clear() if what == "clear" else getattr(part, what)("t"))
        return "old"

    assert await store.get_or_put("a", factory, tags=tags) == "old"
    assert await store.get("a") is None
    assert await store.get_or_put("a", lambda: "new", tags=tags) == "new"
    assert await store.get("a") == "new"


async def test_a_clear_meanwhile_ends_results_without_tags_too(clock: ManualClock) -> None:
    store = tagged(clock)

    async def factory() -> str:
        await store.find(Tags).clear()
        return "old"

    assert await store.get_or_put("a", factory) == "old"
    assert await store.get("a") is None


async def test_by_another_process_too(clock: ManualClock) -> None:
    base = MemoryStore(clock=clock)
    one, other = stack().tags().over(base), stack().tags().over(base)

    async def factory() -> str:
        await other.find(Tags).invalidate("t")
        return "old"

    for tags in TAGS.values():
        assert await one.get_or_put("a", factory, tags=tags) == "old"
        assert await one.get("a") is None


async def test_if_records_fail_the_value_is_computed_and_not_stored(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = tagged(clock)
    counting = store.find(Counting)
    counting.error = StoreUnavailable("down")
    for tags in TAGS.values():
        with pytest.raises(StoreUnavailable):
            await store.get_or_put("a", lambda: "x", tags=tags)
        assert await store.get_or_put("a", lambda: "x", tags=tags, on_error="compute") == "x"
    assert store.computations.stored == 0
    assert "computed without caching it, because the read failed" in caplog.text
    counting.error = None
    assert await store.get("a") is None


async def test_cached_functions_have_tags(clock: ManualClock) -> None:
    store = tagged(clock)

    @store.cached(key=lambda number: f"user-{number}", tags=lambda value: [f"user:{value['id']}"])
    async def user(number: int) -> dict[str, object]:
        return {"id": number, "at": clock.time()}

    first = [await user(1), await user(2)]
    clock.advance(1)
    await store.find(Tags).invalidate("user:1")
    assert (await user(1))["at"] == clock.time()
    assert await user(2) == first[1]


async def test_batches_have_tags(clock: ManualClock) -> None:
    store = tagged(clock)
    keys = ["a", "b", "c"]
    await store.get_or_put_many(keys, lambda missing: {k: k for k in missing}, tags=lambda v: [v])
    await store.find(Tags).invalidate("b")
    assert await store.get_many(keys) == ["a", None, "c"]

    async def changed(missing: list[str]) -> dict[str, str]:
        await store.find(Tags).invalidate("b")
        return dict.fromkeys(missing, "old")

    for tags in (["b"], lambda value: ["b"]):
        assert await store.get_or_put_many(["b"], changed, tags=tags) == ["old"]
        assert await store.get("b") is None


async def test_views_pass_tags(clock: ManualClock) -> None:
    store = tagged(clock)
    typed = store.typed(int)
    await typed.put("a", 1, tags=["t"])
    await typed.put_many(["b"], [2], tags=["t"])
    assert await typed.get_or_put("c", lambda: 3, tags=lambda value: ["t"]) == 3
    await store.find(Tags).invalidate("t")
    assert await store.keys() == []


def test_the_blocking_view_passes_tags() -> None:
    with kvwrap.sync(stack().tags().over(MemoryStore())) as store:
        store.put("a", 1, tags=["t"])
        assert store.get_or_put("b", lambda: 2, tags=lambda value: ["t"]) == 2
        many = store.get_or_put_many(["a", "c"], lambda keys: dict.fromkeys(keys, 3), tags=["t"])
        assert many == [1, 3]

        @store.cached(tags=["t"])
        def four() -> int:
            return 4

        assert four() == 4
        store.run(store.find(Tags).invalidate("t"))
        assert store.keys() == []


CALLS: dict[str, Callable[[Store, Any], Awaitable[object]]] = {
    "put": lambda store, tags: store.put("a", 1, tags=tags),
    "put_many": lambda store, tags: store.put_many(["a"], [1], tags=tags),
    "get_or_put": lambda store, tags: store.get_or_put("a", lambda: 1, tags=tags),
    "get_or_put_many": lambda store, tags: store.get_or_put_many(["a"], lambda k: {}, tags=tags),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_without_the_layer_tags_are_refused(
    call: Callable[[Store, Any], Awaitable[object]],
) -> None:
    store = stack().log().over(MemoryStore())
    with pytest.raises(UnsupportedOperation, match=r"\.tags\(\)"):
        await call(store, ["t"])
    assert await store.keys() == []
    with pytest.raises(UnsupportedOperation, match=r"\.tags\(\)"):
        store.cached(tags=["t"])
    with pytest.raises(UnsupportedOperation, match=r"\.tags\(\)"):
        store.cached_many(tags=["t"])


WRONG: list[Any] = ["t", b"t", 5, [5], [""], [str(number) for number in range(11)], {"a": 1}]


@pytest.mark.parametrize("tags", WRONG, ids=repr)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_what_is_no_tags_is_refused(
    call: Callable[[Store, Any], Awaitable[object]], tags: Any
) -> None:
    store = stack().tags().over(MemoryStore())
    with pytest.raises(ConfigurationError, match="tag"):
        await call(store, tags)
    assert await store.keys() == []


async def test_a_function_must_not_be_async_and_must_return_tags() -> None:
    store = stack().tags().over(MemoryStore())

    async def tags(value: object) -> list[str]:
        return []

    with pytest.raises(ConfigurationError, match="async"):
        await store.get_or_put("a", lambda: 1, tags=tags)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="tags"):
        await store.get_or_put("a", lambda: 1, tags=lambda value: "t")
    with pytest.raises(ConfigurationError, match="tag"):
        await store.find(Tags).invalidate("")


JOINED: dict[str, Any] = {**TAGS, "none": None}


@pytest.mark.parametrize("is_many", [False, True], ids=["one", "many"])
@pytest.mark.parametrize("tags", JOINED.values(), ids=JOINED)
async def test_who_comes_after_the_invalidation_does_not_get_what_was_begun_before(
    clock: ManualClock, tags: Any, is_many: bool
) -> None:
    store = tagged(clock)
    source, begun, goes_on = ["old"], asyncio.Event(), asyncio.Event()

    async def factory(*_: Any) -> Any:
        value = source[0]
        begun.set()
        await goes_on.wait()
        return {"a": value} if is_many and _ else value

    if is_many:
        first = asyncio.ensure_future(store.get_or_put_many(["a"], factory, tags=tags))
    else:
        first = asyncio.ensure_future(store.get_or_put("a", factory, tags=tags))
    await begun.wait()
    source[0] = "new"
    part = store.find(Tags)
    await (part.clear() if tags is None else part.invalidate("t"))
    later = asyncio.ensure_future(store.get_or_put("a", lambda: source[0], tags=tags))
    await clock.settle()
    goes_on.set()
    await first
    assert await later == "new"
    assert await store.get("a") == "new"
