"""Findings, arguments, and the other store of a fallback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from kvwrap import (
    Capability,
    ConfigurationError,
    MemoryStore,
    Stack,
    StackWarning,
    stack,
)
from kvwrap.core.layer import Layer
from kvwrap.layers.fallback import Fallback
from kvwrap.stores.sqlite import SQLiteStore
from tests.layers.faulty import FaultyStore


def layer_with_trait(name: str) -> Layer:
    layer: Layer = type(name.title(), (Layer,), {"traits": frozenset({name})})()
    return layer


class OnDisk(MemoryStore):
    capabilities = MemoryStore.capabilities | {Capability.PERSISTENT}


@pytest.mark.parametrize(
    ("build", "code"),
    [
        (lambda p: stack(Fallback(OnDisk), layer_with_trait("encrypts")), "plaintext-second-store"),
        (
            lambda p: stack(layer_with_trait("retries"), Fallback(MemoryStore)),
            "retry-outside-fallback",
        ),
        (
            lambda p: stack(layer_with_trait("breaks"), Fallback(MemoryStore)),
            "retry-outside-fallback",
        ),
        (
            lambda p: stack(Fallback(MemoryStore), layer_with_trait("caches")),
            "cache-inside-fallback",
        ),
        (
            lambda p: stack(
                Fallback(MemoryStore, writes="journal", journal=p), layer_with_trait("encrypts")
            ),
            "plaintext-journal",
        ),
        (lambda p: stack(Fallback(MemoryStore), layer_with_trait("encrypts")), None),
        (
            lambda p: stack(
                layer_with_trait("caches"),
                layer_with_trait("encrypts"),
                Fallback(OnDisk),
                layer_with_trait("retries"),
            ),
            None,
        ),
    ],
)
def test_known_mistakes_are_reported(
    tmp_path: Path, build: Callable[[Path], Stack], code: str | None
) -> None:
    layers = build(tmp_path / "j")
    if code is None:
        assert layers.over(MemoryStore()).findings == ()
    else:
        with pytest.warns(StackWarning, match=code):
            layers.over(MemoryStore())


@pytest.mark.parametrize(
    "arguments",
    [
        {"writes": "maybe"},
        {"writes": "journal"},
        {"journal": "j"},
        {"writes": "both", "journal": "j"},
        {"writes": "journal", "journal": ""},
        {"failures": 0},
        {"open_for": 0},
        {"recovery_delay": -1},
        {"max_pending": 0},
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="|".join(arguments)):
        Fallback(MemoryStore, **arguments)  # type: ignore[arg-type]  # that is the point


async def test_the_other_store_is_opened_and_closed_with_the_stack(tmp_path: Path) -> None:
    other = SQLiteStore(tmp_path / "other.db")
    async with stack().fallback(other, writes="both").over(MemoryStore()) as store:
        assert other.is_open
        await store.put("k", 1)
    assert other.is_closed
    lazily = SQLiteStore(tmp_path / "lazily.db")
    store = stack().fallback(lazily, writes="both").over(MemoryStore())
    await store.put("k", 1)
    assert lazily.is_open
    await store.close()
    assert lazily.is_closed


async def test_an_opening_that_fails_leaves_the_other_store_closed(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.mkdir()
    other = SQLiteStore(tmp_path / "other.db")
    store = stack().fallback(other, writes="journal", journal=journal).over(MemoryStore())
    with pytest.raises(ConfigurationError, match="cannot open it"):
        await store.open()
    assert not other.is_open
    journal.rmdir()
    async with store:
        assert other.is_open


async def test_a_fallback_may_fall_back_itself(backend: FaultyStore, other: FaultyStore) -> None:
    last = MemoryStore()
    await last.put("k", "last")
    store = Fallback(Fallback(last).over(other)).over(backend)
    backend.down = other.down = True
    assert await store.get("k") == "last"


@pytest.mark.parametrize("writes", ["refuse", "both", "journal"])
def test_only_a_fallback_with_a_journal_says_what_it_means(
    writes: Literal["refuse", "both", "journal"], tmp_path: Path
) -> None:
    journal = tmp_path / "journal" if writes == "journal" else None
    layer = Fallback(MemoryStore, writes=writes, journal=journal)
    assert ("journals" in layer.traits) == (writes == "journal")
    text = stack(layer).over(MemoryStore()).explain()
    assert ("acknowledged when it is in the journal" in text) == (writes == "journal")
    assert ("something else must keep up to date" in text) == (writes == "refuse")
