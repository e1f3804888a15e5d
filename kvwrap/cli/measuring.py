"""Measurements of a stack on its backend."""

from __future__ import annotations

import random
import secrets
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from statistics import median, quantiles
from typing import Any

import msgspec

from kvwrap.cli.stores import as_tool
from kvwrap.config.load import from_config
from kvwrap.core.serializer import JSON
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError, KvwrapError, StackWarning

_BATCH = 100
_WORDS = ("visit", "account", "street", "invoice", "pending", "garden", "quarter", "summary")


class Measured(msgspec.Struct):
    """The latencies of an operation.

    Attributes:
        operation: Its name.
        median: Their median in microseconds.
        p99: That which 99 of 100 calls stay below, in microseconds.
    """

    operation: str
    median: float
    p99: float


class Sizes(msgspec.Struct):
    """The size of a value.

    Attributes:
        value: Mean number of bytes as JSON.
        at_rest: Mean number of bytes of the entry's body in the backend; `None` if not known.
    """

    value: int
    at_rest: int | None


class LayerCost(msgspec.Struct):
    """What a layer adds to a call, as the difference of the medians with it and without it.

    Attributes:
        name: The layer's type in the configuration, or "backend" for what is left.
        get: Microseconds that it adds to a get; `None` if the stack cannot be without the others.
        put: Likewise, to a put.
    """

    name: str
    get: float | None
    put: float | None


async def measure(store: Store, rounds: int, size: int) -> tuple[list[Measured], Sizes]:
    """Measure single operations and batches, one call after another."""
    values = sample_values(rounds, size)
    keys = [f"k{n:06}" for n in range(rounds)]
    batches = [(keys[n : n + _BATCH], values[n : n + _BATCH]) for n in range(0, rounds, _BATCH)]
    async with _collection_of_its_own(store, keys) as own:
        get = partial(store.get, collection=own)
        put_many = partial(store.put_many, collection=own)
        get_many = partial(store.get_many, collection=own)
        measured = [
            await _time(
                "put",
                [partial(store.put, k, v, collection=own) for k, v in zip(keys, values)],
            ),
            await _time("get", [partial(get, key) for key in keys]),
            await _time("get, nothing there", [partial(get, f"-{key}") for key in keys]),
            await _time(
                f"put_many of {len(batches[0][0])}", [partial(put_many, *each) for each in batches]
            ),
            await _time(
                f"get_many of {len(batches[0][0])}",
                [partial(get_many, names) for names, _ in batches],
            ),
        ]
        at_rest = await _bytes_at_rest(store, keys[:_BATCH], own)
        measured.append(
            await _time("delete", [partial(store.delete, key, collection=own) for key in keys])
        )
    mean = sum(len(JSON.dumps(value)) for value in values) // len(values)
    return measured, Sizes(mean, at_rest)


async def measure_layers(
    table: Mapping[str, Any], *, rounds: int, size: int, python: bool
) -> list[LayerCost]:
    """Measure what each layer of a configuration adds, from the outermost to the backend.

    The stack is built with all layers, without the outermost, without the two outermost and so
    on, and the calls of these stacks take turns.
    """
    layers = list(table.get("layers", ()))
    names = [each if isinstance(each, str) else str(each["type"]) for each in layers]
    async with AsyncExitStack() as opened:
        stacks = [
            await _open({**table, "layers": layers[depth:]}, opened, python)
            for depth in range(len(layers) + 1)
        ]
        times = await _take_turns(stacks, rounds, size)
    return [
        LayerCost(
            name,
            _difference(own, inner, lambda each: each.get),
            _difference(own, inner, lambda each: each.put),
        )
        for name, own, inner in zip(names, times, times[1:])
    ] + [LayerCost("backend", *_medians(times[-1]))]


def sample_values(count: int, size: int) -> list[dict[str, Any]]:
    """Return values of about this size as JSON, as compressible as records of an application."""
    rng = random.Random(0)
    values = []
    for number in range(count):
        text = ""
        while len(text) < size - 40:
            text += f"{rng.choice(_WORDS)} {rng.randrange(10_000)} "
        values.append({"id": number, "at": rng.random(), "text": text})
    return values


async def _time(operation: str, calls: Sequence[Callable[[], Awaitable[Any]]]) -> Measured:
    times = []
    for call in calls:
        begin = time.perf_counter_ns()
        await call()
        times.append((time.perf_counter_ns() - begin) / 1000)
    p99 = quantiles(times, n=100, method="inclusive")[98] if len(times) > 1 else times[0]
    return Measured(operation, median(times), p99)


@asynccontextmanager
async def _collection_of_its_own(store: Store, keys: Sequence[str]) -> AsyncIterator[str]:
    """Provide the name of a collection that nobody has, and delete its keys in the end."""
    collection = f"kvwrap-bench-{secrets.token_hex(6)}"
    try:
        yield collection
    finally:
        await store.delete_many(keys, collection=collection)


async def _bytes_at_rest(store: Store, keys: Sequence[str], collection: str) -> int | None:
    sizes = []
    for key in keys:
        # A copy in a near store is not where the entry rests: the last place is the backend.
        part, own_collection, own_key = store.trace(collection, key)[-1]
        (entry,) = await part.read(own_collection, (own_key,))
        if entry is None:
            return None
        sizes.append(len(entry.body))
    return sum(sizes) // len(sizes)


async def _open(
    table: Mapping[str, Any], opened: AsyncExitStack, python: bool
) -> tuple[Store, str] | None:
    """Open a part of a stack, or return None if its layers cannot be without the others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StackWarning)
        with suppress(ConfigurationError):
            store = as_tool(from_config(table, python=python), creates=True)
            await opened.enter_async_context(store)
            return store, f"kvwrap-bench-{secrets.token_hex(6)}"
    return None


class _Turn(msgspec.Struct):
    """Microseconds of one put and one get."""

    put: float
    get: float


async def _take_turns(
    stacks: Sequence[tuple[Store, str] | None], rounds: int, size: int
) -> list[list[_Turn]]:
    """Return the times of each stack in each round; none for those that cannot be."""
    times: list[list[_Turn]] = [[] for _ in stacks]
    there = [(place, *each) for place, each in enumerate(stacks) if each is not None]
    keys = [f"k{number:06}" for number in range(rounds)]
    try:
        for key, value in zip(keys, sample_values(rounds, size)):
            # Each begins a round in its turn, so that none is always the one after a pause.
            there.append(there.pop(0))
            for place, store, collection in there:
                begin = time.perf_counter_ns()
                await store.put(key, value, collection=collection)
                written = time.perf_counter_ns()
                await store.get(key, collection=collection)
                read = time.perf_counter_ns()
                times[place].append(_Turn((written - begin) / 1000, (read - written) / 1000))
    finally:
        for _, store, collection in there:
            with suppress(KvwrapError):  # the error that ended the measurement is told
                await store.delete_many(keys, collection=collection)
    return times


def _difference(
    own: Sequence[_Turn], inner: Sequence[_Turn], part: Callable[[_Turn], float]
) -> float | None:
    """Return the median of what one stack took longer than another in the same round."""
    differences = [part(one) - part(other) for one, other in zip(own, inner)]
    return median(differences) if differences else None


def _medians(times: Sequence[_Turn]) -> tuple[float | None, float | None]:
    if not times:
        return None, None
    return median([each.get for each in times]), median([each.put for each in times])
