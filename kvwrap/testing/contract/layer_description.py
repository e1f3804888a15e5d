"""A layer's description, and its life in a stack: bound, opened, closed."""

from __future__ import annotations

import asyncio

import pytest

from kvwrap import (
    ConfigurationError,
    MemoryStore,
    Passthrough,
    Stack,
    Store,
    StoreUnavailable,
    stack,
)
from kvwrap.core.layer import Layer, layers_of
from kvwrap.core.primitives import PRIMITIVES
from kvwrap.testing.clock import ManualClock
from kvwrap.testing.contract.layer_fixtures import LayerFixtures


def all_traits(layer: type[Layer] = Layer) -> frozenset[str]:
    """Return the traits of this class and all its subclasses."""
    traits: object = layer.traits
    # A class may compute its traits for each instance.
    own = traits if isinstance(traits, frozenset) else frozenset()
    return own.union(*map(all_traits, layer.__subclasses__()))


class AllTraits(Passthrough):
    """A neighbour that has every trait, so that a layer reports what it can."""

    def __init__(self) -> None:
        type(self).traits = all_traits()


class Description(LayerFixtures):
    """A layer's description is a value. Its instances are opened and closed with the stack."""

    async def test_a_description_is_a_value(self, layers: Stack) -> None:
        for layer in layers:
            copy = layer.clone()
            assert copy is not layer
            assert copy == layer
            assert hash(copy) == hash(layer)
            assert repr(copy) == repr(layer)
            assert repr(layer).startswith(type(layer).__name__)
            assert layer != Passthrough() or type(layer) is Passthrough
        assert layers + stack() == layers == stack() + layers

    async def test_use_does_not_change_the_description(self, layers: Stack, store: Store) -> None:
        before = [dict(vars(layer)) for layer in layers]
        reprs = [repr(layer) for layer in layers]
        await self.use(store)
        assert [dict(vars(layer)) for layer in layers] == before
        assert [repr(layer) for layer in layers] == reprs
        for layer in layers:
            running = store.find(type(layer))
            assert running is not layer
            assert not hasattr(layer, "inner")

    async def test_one_description_over_two_stores_shares_no_state(
        self, layers: Stack, clock: ManualClock
    ) -> None:
        bases = [MemoryStore(clock=clock) for _ in range(2)]
        one = layers.over(bases[0])
        try:
            two = layers.over(bases[1])
        except ConfigurationError as error:
            assert "factory" in str(error), (
                "the error must say to pass the second store as a factory"
            )
            return
        async with one, two:
            for part, twin in zip(one.layers, two.layers, strict=True):
                assert part is not twin
                for (_, second), (_, other) in zip(
                    part.second_stores, twin.second_stores, strict=True
                ):
                    assert second is not other
            if not self.writable:
                return
            await one.put("key", "one")
            assert await two.get("key") != "one"
            await two.put("key", "two")
            await one.delete("key")
            assert await two.get("key") == "two"
            assert await one.get("key") != "two"

    async def test_find_and_explain_show_it(self, layers: Stack, store: Store) -> None:
        text = store.explain()
        assert repr(store.base) in text
        for layer, running in zip(layers, store.layers, strict=False):
            assert isinstance(running, type(layer))
            assert isinstance(store.find(type(layer)), type(layer))
            assert type(layer).__name__ in text
            for role, second in running.second_stores:
                assert f"{role}: " in text
                assert repr(second.base) in text
            for note in running.notes():
                assert note in text

    async def test_findings_have_declared_codes(self, store: Store) -> None:
        running = layers_of(store)
        neighbours = (AllTraits().bind(store),)
        for index, layer in enumerate(running):
            for above, below in (
                (running[:index], running[index + 1 :]),
                (neighbours, neighbours),
            ):
                found = {each.code for each in layer.findings(above, below, store.base)}
                assert found <= layer.finding_codes, f"declare {found} in `finding_codes`"

    async def test_unchanged_primitives_are_bound_through(self, store: Store) -> None:
        for part in layers_of(store):
            for name in PRIMITIVES:
                if getattr(type(part), name) is not getattr(Layer, name):
                    continue
                bound = getattr(part, name)
                around = getattr(type(part), "around", None)
                assert bound == getattr(part.inner, name) or around is not None, name

    async def test_it_works_without_being_opened(self, layers: Stack, backend: Store) -> None:
        store = layers.over(backend)
        await self.use(store)
        await store.close()
        assert backend.is_open, "a store that others opened must stay open"

    async def test_closing_ends_what_opening_started(self, layers: Stack, backend: Store) -> None:
        before = asyncio.all_tasks()
        store = layers.over(backend)
        async with store:
            await self.use(store)
            seconds = [second for part in layers_of(store) for _, second in part.second_stores]
            assert all(second.is_open for second in seconds)
        assert asyncio.all_tasks() <= before
        assert not any(second.is_open for second in seconds)
        await store.close()
        with pytest.raises(StoreUnavailable):
            await store.get("key")
        async with store:
            await store.get("key")
