"""What every layer and store exports: readable at any time, bounded, without keys or values."""

from __future__ import annotations

import re

import pytest

from kvwrap import MemoryStore, Passthrough, stack
from kvwrap.core.figures import collect, declared
from tests.catalog import LAYERS


class Fails(Passthrough):
    """Raises an error of another class for each key."""

    async def read(self, collection, keys):
        raise type(f"Error{keys[0]}", (Exception,), {})("no")


SECRET = "k3y-0f-a-user"
LABELS = {
    "collection": "bounded by Statistics(max_collections=)",
    "operation": "the primitives",
    "error": "bounded by the layer",
    "state": "the states of a breaker",
    "cause": "what ends a copy",
    "kind": "the kinds of differences",
    "replica": "the arguments of the layer",
    "key_name": "the keyring",
    "size": "the four sizes of a curve",
}
"""The labels that there are, and what bounds their values. A new one belongs here with a reason."""


def test_labels_are_known_to_be_bounded():
    for figure in declared():
        if not figure.name.startswith("doors."):  # of another test
            assert set(figure.labels) <= LABELS.keys(), figure.name


def test_units_are_those_of_ucum_and_texts_are_sentences():
    for figure in declared():
        assert re.fullmatch(r"s|By|1|\{[a-z]+\}", figure.unit), figure.name
        assert re.fullmatch(r"\w[^\n]* .*\.", figure.text), figure.name


@pytest.mark.parametrize("name", LAYERS)
async def test_figures_of_every_layer_have_no_keys_and_no_values(clock, name):
    store = (LAYERS[name].make(clock)).over(MemoryStore(clock=clock))
    before = {each[:-1] for each in collect(store)}
    async with store:
        if LAYERS[name].writable:
            await store.put(SECRET, SECRET, ttl=60)
            await store.put_many([SECRET, "b"], [SECRET, SECRET])
        assert await store.get_many([SECRET, "missing"]) is not None
        await store.delete("b") if LAYERS[name].writable else None
        samples = list(collect(store))
    assert samples
    assert before <= {each[:-1] for each in samples}
    for sample in samples:
        assert len(sample.labels) == len(sample.figure.labels), sample
        assert SECRET not in str(sample[1:]), sample
        if sample.figure.kind != "histogram":
            assert float(sample.value) >= 0, sample
    assert list(collect(store))  # closed


async def test_numbers_of_error_classes_and_collections_are_bounded(clock):
    store = stack().statistics(max_collections=3).layer(Fails()).over(MemoryStore(clock=clock))
    for number in range(200):
        with pytest.raises(Exception, match="no"):
            await store.get(str(number), collection=f"c{number}")
    samples = [each for each in collect(store) if each.figure.name == "errors"]
    assert sum(each.value for each in samples) == 200
    assert len({each.labels[0] for each in samples}) == 4
    assert len({each.labels[2] for each in samples}) <= 55
    assert any(each.labels[2] == "(other)" for each in samples)
