"""Values over and under the limits."""

from __future__ import annotations

from typing import Any

import pytest

from kvwrap import (
    ConfigurationError,
    InvalidValue,
    Keyring,
    LimitSize,
    MemoryStore,
    StackWarning,
    ValueTooLarge,
    stack,
)

FITS, TOO_LARGE = "a" * 98, "a" * 99  # with the quotes of JSON: 100 bytes and 101


async def test_over_the_limit_nothing_of_the_batch_is_written() -> None:
    store = LimitSize(100).over(MemoryStore())
    await store.put("k", FITS)
    with pytest.raises(ValueTooLarge, match="101 bytes, over max_size=100") as caught:
        await store.put_many(["a", "b", "c"], [FITS, TOO_LARGE, FITS], collection="c")
    assert (caught.value.store, caught.value.collection, caught.value.key) == (
        "LimitSize",
        "c",
        "b",
    )
    assert await store.keys("c") == []
    with pytest.raises(ValueTooLarge):
        await store.put("k", TOO_LARGE)
    assert await store.get("k") == FITS


async def test_a_dropped_value_leaves_no_entry() -> None:
    store = LimitSize(100, on_too_large="drop").over(MemoryStore())
    await store.put("k", "old")
    await store.put("k", TOO_LARGE)
    assert await store.get("k") is None
    await store.put_many(["a", "b", "c"], [1, TOO_LARGE, 3])
    assert await store.get_many(["a", "b", "c"]) == [1, None, 3]


async def test_for_a_key_that_occurs_twice_the_last_value_decides() -> None:
    store = LimitSize(100, on_too_large="drop").over(MemoryStore())
    await store.put_many(["a", "a", "b", "b"], [TOO_LARGE, 1, 2, TOO_LARGE])
    assert await store.get_many(["a", "b"]) == [1, None]


async def test_conditional_writes_raise_in_either_case() -> None:
    store = LimitSize(100, on_too_large="drop").over(MemoryStore())
    with pytest.raises(ValueTooLarge):
        await store.put_if_absent("k", TOO_LARGE)
    await store.put("k", 1)
    versioned = await store.get_versioned("k")
    assert versioned is not None
    with pytest.raises(ValueTooLarge):
        await store.compare_and_put("k", TOO_LARGE, versioned.version)
    assert await store.get("k") == 1
    assert await store.increment("k") == 2


async def test_values_under_the_minimum() -> None:
    store = LimitSize(min_size=50).over(MemoryStore())
    await store.put("k", FITS)
    await store.put("k", 1)
    assert not await store.exists("k")
    await store.put("large", "a" * 100_000)
    assert await store.exists("large")
    strict = LimitSize(min_size=50, on_too_small="raise").over(MemoryStore())
    with pytest.raises(InvalidValue, match="1 bytes, under min_size=50"):
        await strict.put("k", 1)


async def test_reads_are_not_limited() -> None:
    base = MemoryStore()
    await base.put("k", TOO_LARGE)
    assert await LimitSize(10).over(base).get("k") == TOO_LARGE


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"max_size": -1},
        {"max_size": 0},
        {"max_size": "1M"},
        {"max_size": 1.5},
        {"max_size": True},
        {"max_size": 10, "min_size": 10},
        {"min_size": -1},
        {"min_size": None},
        {"max_size": 10, "on_too_large": "ignore"},
        {"max_size": 10, "on_too_small": None},
    ],
)
def test_invalid_limits_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        LimitSize(**arguments)


def test_a_limit_on_changed_bytes_is_reported() -> None:
    keyring = Keyring({"k": b"k" * 32})
    for outer in (stack().compress(), stack().encrypt(keyring)):
        with pytest.warns(StackWarning, match="limit-inside-transform"):
            outer.limit_size(100).over(MemoryStore())
    assert stack().limit_size(100).compress().over(MemoryStore()).findings == ()
