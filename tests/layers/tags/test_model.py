"""Random operations on a stack with tags, compared with a model of what must be found."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from kvwrap import Keyring, MemoryStore, Stack, Store, Tags, stack
from kvwrap.testing import ManualClock
from tests.conftest import SOAK
from tests.layers.tags.shared import SECRET, unwatched
from tests.layers.without_capabilities import WithoutCapabilities

KEYS = ["a", "b", "c", "d"]
TAGS = ["t", "u", "v"]
COLLECTIONS = [None, "x"]
SEEDS = 2_000 if SOAK else 60


class Model:
    """The values with their expiry times and tags, by collection and key."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.held: dict[tuple[str | None, str], tuple[int, float | None, set[str]]] = {}

    def live(self, collection: str | None) -> dict[str, int]:
        now = self.clock.time()
        return {
            key: value
            for (place, key), (value, end, _) in self.held.items()
            if place == collection and (end is None or end > now)
        }

    def drop(self, tags: set[str]) -> None:
        self.held = {name: each for name, each in self.held.items() if not each[2] & tags}


async def step(rng: random.Random, store: Store, model: Model, number: int) -> None:
    collection, key = rng.choice(COLLECTIONS), rng.choice(KEYS)
    there, name = model.live(collection), (collection, key)
    tags = rng.sample(TAGS, rng.randrange(3))
    ttl = rng.choice([None, 5, 50])
    end = None if ttl is None else model.clock.time() + ttl
    match rng.randrange(13):
        case 0 | 1:
            await store.put(key, number, collection=collection, ttl=ttl, tags=tags or None)
            model.held[name] = (number, end, set(tags))
        case 2:
            some = rng.sample(KEYS, 3)
            values = [number] * 3
            await store.put_many(some, values, collection=collection, ttl=ttl, tags=tags)
            model.held |= {(collection, each): (number, end, set(tags)) for each in some}
        case 3:
            assert await store.delete(key, collection=collection) == (key in there)
            model.held.pop(name, None)
        case 4:
            assert await store.expire(key, ttl, collection=collection) == (key in there)
            if key in there:
                model.held[name] = (there[key], end, model.held[name][2])
        case 5:
            value = await store.get_or_put(
                key, lambda: number, collection=collection, ttl=ttl, tags=lambda _: tags
            )
            assert value == there.get(key, number)
            if key not in there:
                model.held[name] = (number, end, set(tags))
        case 6:
            values = await store.get_or_put_many(
                KEYS, lambda keys: dict.fromkeys(keys, number), collection=collection, tags=tags
            )
            assert values == [there.get(each, number) for each in KEYS]
            new = set(KEYS) - set(there)
            model.held |= {(collection, each): (number, None, set(tags)) for each in new}
        case 7 if "compare_and_put" in store.capabilities:
            put = store.put_if_absent(key, number, collection=collection, ttl=ttl)
            assert await put == (key not in there)
            if key not in there:
                model.held[name] = (number, end, set())
        case 8:
            await store.find(Tags).invalidate(*tags)
            model.drop(set(tags))
        case 9 if rng.random() < 0.3:
            await store.find(Tags).clear()
            model.held.clear()
        case 10 if "compare_and_put" in store.capabilities:
            await store.find(Tags).expire(*tags)
            model.drop(set(tags))
        case 11:
            model.clock.advance(rng.choice([0.5, 3, 20]))
        case 12:
            await store.cull()


LAYERS: dict[str, Callable[[ManualClock], tuple[Stack, Store]]] = {
    "bare": lambda clock: (stack(), MemoryStore(clock=clock)),
    "not watched": lambda clock: (stack(), unwatched(clock)),
    "without versions": lambda clock: (
        stack(WithoutCapabilities("compare_and_put")),
        MemoryStore(clock=clock),
    ),
    "near, hashed names, bytes": lambda clock: (
        stack()
        .read_through(lambda: MemoryStore(clock=clock), ttl=30)
        .prefix_collection("p-")
        .compress(min_size=0)
        .encrypt(Keyring({"k": b"k" * 32})),
        MemoryStore(clock=clock),
    ),
    "near, not watched": lambda clock: (
        stack().read_through(lambda: MemoryStore(clock=clock), ttl=30, coherence="ttl"),
        unwatched(clock),
    ),
}


@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
async def test_what_is_found_is_what_the_model_has(
    layers: Callable[[ManualClock], tuple[Stack, Store]],
) -> None:
    for seed in range(SEEDS):
        rng, clock = random.Random(seed), ManualClock()
        inside, base = layers(clock)
        model = Model(clock)
        async with (stack().tags(SECRET) + inside).over(base) as store:
            for number in range(30):
                await step(rng, store, model, number)
                for collection in COLLECTIONS:
                    there = model.live(collection)
                    found = await store.get_many(KEYS, collection=collection)
                    assert found == [there.get(key) for key in KEYS], f"seed {seed}, {number}"
                    assert sorted(await store.keys(collection)) == sorted(there), f"seed {seed}"
                    assert await store.count(collection=collection) == len(there)
