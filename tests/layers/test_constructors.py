"""Every layer's constructor refuses invalid arguments, before the stack is put over a store."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest

from kvwrap import (
    ConfigurationError,
    InvalidTTL,
    Keyring,
    MemoryStore,
    SerializationError,
    builder,
    stack,
)
from kvwrap.testing import ManualClock
from tests.catalog import LAYERS

INVALID: dict[str, Any] = {
    "below zero": -1,
    "NaN": math.nan,
    "infinity": math.inf,
    "more than a float holds": 10**400,
    "a word": "no",
    "nothing": "",
    "no list": [],
    "a list": [1],
    "bytes": b"x",
    "an object": object(),
}
ACCEPTED = {
    # Arguments for which these values are valid.
    "below zero": {"Chaos.seed", "Compression.level", "DefaultValue.value"},
    "NaN": set[str](),
    "an object": set[str](),
}
EXPECTED = (ConfigurationError, InvalidTTL)
PARAMETERS = [
    pytest.param(name, parameter, id=f"{name}-{parameter}")
    for name in builder.LAYERS
    for parameter, kind in inspect.signature(builder.LAYERS[name]).parameters.items()
    if kind.kind is not kind.VAR_KEYWORD
]


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS)
def test_an_invalid_value_is_refused_by_a_typed_error(name: str, parameter: str) -> None:
    cls = builder.LAYERS[name]
    given = next(x for x in LAYERS[name].make(ManualClock()) if type(x) is cls).arguments
    for title, value in INVALID.items():
        argument = f"{cls.__name__}.{parameter}"
        if argument == "DefaultValue.value" and title in ("NaN", "infinity", "an object"):
            with pytest.raises(SerializationError):
                cls(**{**given, parameter: value})
            continue
        try:
            cls(**{**given, parameter: value})
        except EXPECTED:
            continue
        assert argument in ACCEPTED.get(title, {argument}), f"{argument} accepts {title}"


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS)
def test_a_refusal_names_the_argument(name: str, parameter: str) -> None:
    cls = builder.LAYERS[name]
    given = next(x for x in LAYERS[name].make(ManualClock()) if type(x) is cls).arguments
    error = SerializationError if parameter == "value" else EXPECTED
    with pytest.raises(error, match=rf"\b{parameter}s?\b"):
        cls(**{**given, parameter: object()})


KEYS = Keyring({"k": b"k" * 32})


@pytest.mark.parametrize(
    "describe",
    [
        lambda s: s.shard({}),
        lambda s: s.shard([]),
        lambda s: s.shard([5]),
        lambda s: s.shard([MemoryStore], name=None),
        lambda s: s.shard([MemoryStore], previous=[]),
        lambda s: s.replicate([]),
        lambda s: s.replicate([None]),
        lambda s: s.replicate([MemoryStore], write_quorum=3),
        lambda s: s.replicate([MemoryStore], read_quorum=3),
        lambda s: s.replicate([MemoryStore], write_quorum=0),
        lambda s: s.route({}),
        lambda s: s.route({"a": 5}),
        lambda s: s.route({1: MemoryStore}),
        lambda s: s.route({"a": MemoryStore}, choose="a"),
        lambda s: s.fallback(5),
        lambda s: s.fallback(None),
        lambda s: s.fallback(MemoryStore, recovery_delay=None),
        lambda s: s.shadow(object()),
        lambda s: s.read_through("memory"),
        lambda s: s.chaos(operations=[]),
        lambda s: s.default_value(0, collections=[]),
        lambda s: s.default_value(0, collections="one"),
        lambda s: s.compress(["zstd"]),
        lambda s: s.compress(legacy=[object()]),
        lambda s: s.encrypt(KEYS, accept_plaintext="false"),
        lambda s: s.encrypt(KEYS, legacy=5),
        lambda s: s.limit_rate(5e-324, 1e308),
        lambda s: s.log(logger=None),
        lambda s: s.single_collection(""),
        lambda s: s.timeout(operations=["read"]),
        lambda s: s.trace(tracer="kvwrap"),
        lambda s: s.retry(rng=5),
        lambda s: s.write_behind("journal", max_wait=10**400),
    ],
)
def test_invalid_arguments_are_refused_when_the_stack_is_described(describe: Any) -> None:
    with pytest.raises(ConfigurationError):
        describe(stack())
