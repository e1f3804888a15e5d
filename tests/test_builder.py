"""The builder has one method for each layer, and each is that layer's class."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import kvwrap
from kvwrap import Stack, stack
from kvwrap.builder import _Adds
from kvwrap.core.layer import Layer
from kvwrap.core.registry import LAYERS, layer_class

BUILDERS: dict[str, Any] = {
    name: method.layer for name, method in vars(Stack).items() if isinstance(method, _Adds)
}


@pytest.mark.parametrize("name", BUILDERS)
def test_a_builder_method_takes_what_its_class_takes(name: str) -> None:
    method = getattr(stack(), name)
    assert inspect.signature(method) == inspect.signature(BUILDERS[name])
    assert inspect.getdoc(method) == inspect.getdoc(BUILDERS[name])
    assert getattr(Stack, name).layer is BUILDERS[name]


@pytest.mark.parametrize("name", BUILDERS)
def test_a_builder_method_is_registered_under_its_name(name: str) -> None:
    assert layer_class(name) is BUILDERS[name]


def test_every_registered_layer_has_its_builder_method() -> None:
    assert sorted(LAYERS) == sorted(BUILDERS)
    assert sorted(BUILDERS) == list(BUILDERS), "in alphabetical order"


def test_every_layer_is_public_and_has_its_builder_method() -> None:
    public = {
        thing
        for name in kvwrap.__all__
        if inspect.isclass(thing := getattr(kvwrap, name)) and issubclass(thing, Layer)
    }
    assert public - {kvwrap.Layer, kvwrap.Passthrough} == set(BUILDERS.values())
    assert kvwrap.__all__ == sorted(kvwrap.__all__, key=lambda name: (name.islower(), name))


def test_adding_gives_a_new_stack() -> None:
    empty = stack()
    one = empty.clamp_ttl(maximum=60)
    two = one.prefix_collection("a-")
    assert (len(empty), len(one), len(two)) == (0, 1, 2)
    assert two == stack(kvwrap.TTLClamp(maximum=60), kvwrap.PrefixCollection("a-"))
    assert list(two) == list(two.layers)


def test_a_layer_left_out_is_the_one_that_changes_nothing() -> None:
    assert stack().layer() == stack(kvwrap.Passthrough())


def test_a_stack_cannot_be_changed() -> None:
    one = stack(kvwrap.Statistics())
    for name in ("layers", "silenced", "more"):
        with pytest.raises(AttributeError):
            setattr(one, name, ())
    assert one == stack().statistics()
    assert len({one, stack().statistics()}) == 1
    assert one != stack(kvwrap.Statistics(name="other"))


@pytest.mark.parametrize(
    "bad",
    [kvwrap.Statistics, "statistics", None, kvwrap.MemoryStore()],
    ids=["class", "name", "None", "store"],
)
def test_what_is_no_layer_is_refused(bad: Any) -> None:
    with pytest.raises(kvwrap.ConfigurationError, match="a stack is made of layers"):
        stack(bad)
    if bad is not None:
        with pytest.raises(kvwrap.ConfigurationError, match="a stack is made of layers"):
            stack().layer(bad)


def test_a_class_given_for_a_layer_is_told_how_to_be_one() -> None:
    with pytest.raises(kvwrap.ConfigurationError, match=r"Statistics\(\)"):
        stack().layer(kvwrap.Statistics)  # type: ignore[arg-type]  # what is to be refused


def test_wrong_arguments_are_refused_where_they_are_given() -> None:
    with pytest.raises(TypeError):
        stack().clamp_ttl(minimun=1)  # type: ignore[call-arg]  # what is to be refused
    with pytest.raises(kvwrap.ConfigurationError):
        stack().prefix_collection("")
