"""Values from the start."""

from __future__ import annotations

from typing import Any

import pytest

from kvwrap import (
    ConfigurationError,
    DecryptionError,
    InvalidKey,
    Keyring,
    MemoryStore,
    SerializationError,
    ValueTooLarge,
    from_config,
    stack,
    to_config,
)


async def test_seeded_values_are_those_of_a_put() -> None:
    seed: dict[str | None, dict[str, Any]] = {"users": {"ada": {"visits": 1}}, None: {"n": 1}}
    store = MemoryStore(seed=seed)
    seed["users"]["ada"]["visits"] = 2
    assert await store.ttl("ada", collection="users") == ({"visits": 1}, None)
    assert await store.increment("n") == 2
    assert await store.collections() == ["users"]
    versioned = await store.get_versioned("ada", collection="users")
    assert versioned is not None
    assert await store.compare_and_put("ada", 3, versioned.version, collection="users")


async def test_limits_hold_for_seeded_values() -> None:
    store = MemoryStore(max_entries=2, seed={None: {"a": 1, "b": 2, "c": 3}})
    assert len(store) == 2
    with pytest.raises(ValueTooLarge, match="max_bytes=4"):
        MemoryStore(max_bytes=4, seed={"c": {"a": "a long text"}})


async def test_an_encrypted_stack_refuses_them() -> None:
    store = stack().encrypt(Keyring({"k": b"k" * 32})).over(MemoryStore(seed={None: {"a": 1}}))
    with pytest.raises(DecryptionError):
        await store.get("a")


async def test_values_are_not_shown_but_written_down() -> None:
    store = MemoryStore(seed={"c": {"a": "private"}})
    assert repr(store) == "MemoryStore(seed=...)"
    assert "private" not in store.explain()
    again = from_config(to_config(store))
    assert await again.get("a", collection="c") == "private"


@pytest.mark.parametrize(
    ("seed", "error"),
    [
        (["a"], ConfigurationError),
        ({"c": 1}, ConfigurationError),
        ({"c": {"": 1}}, InvalidKey),
        ({"": {"a": 1}}, InvalidKey),
        ({"c": {"kvwrap.a": 1}}, InvalidKey),
        ({"c": {"a": object()}}, SerializationError),
    ],
)
def test_a_wrong_seed_is_refused(seed: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        MemoryStore(seed=seed)
    assert "object at" not in str(raised.value)
