"""The builder has one method for each layer, and each takes what the layer's class takes."""

from __future__ import annotations

import inspect
import pickle
import pydoc
import sys
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

import kvwrap
from kvwrap import MemoryStore, Passthrough, Retry, Stack, layers, stack
from kvwrap.builder import LAYERS
from kvwrap.core import registry
from kvwrap.core.findings import Finding
from kvwrap.core.layer import Layer


def parameters(function: Any) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


# -- methods -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS)
def test_a_builder_method_takes_what_its_class_takes(name: str) -> None:
    method = getattr(stack(), name)
    assert parameters(method) == parameters(LAYERS[name])
    assert inspect.signature(method).return_annotation == "Stack"
    assert inspect.getdoc(method) == inspect.getdoc(LAYERS[name])


@pytest.mark.parametrize("name", LAYERS)
def test_a_builder_method_is_a_function_of_the_class(name: str) -> None:
    function = vars(Stack)[name]
    assert isinstance(function, types.FunctionType)
    assert function.__name__ == name
    assert function.__qualname__ == f"Stack.{name}"
    assert function.__module__ == "kvwrap.builder"
    self, *others = parameters(function)
    assert self.name == "self"
    assert others == parameters(LAYERS[name])
    assert name in dir(stack())


ONE_LINE = pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="pydoc shows each argument of a long signature on a line"
)


@ONE_LINE
def test_help_of_a_method_shows_its_arguments_and_its_docs() -> None:
    shown = pydoc.render_doc(stack().encrypt, renderer=pydoc.plaintext)
    assert "encrypt(keyring: 'KeySource', *, context: 'bytes' = b''" in shown
    assert "-> 'Stack'" in shown
    assert str(inspect.getdoc(kvwrap.Encryption)).splitlines()[0] in shown


@ONE_LINE
def test_help_of_the_class_shows_every_method() -> None:
    shown = pydoc.render_doc(Stack, renderer=pydoc.plaintext)
    assert " object at 0x" not in shown
    assert "_Placeholder" not in shown
    for name in LAYERS:
        assert f" |  {name}(self" in shown


def test_editors_find_the_source_of_the_layer() -> None:
    source = inspect.getsource(Stack.encrypt)
    assert source.lstrip().startswith("def __init__(")
    assert "keyring" in source


# `trace` names a class of an optional package, which type checkers alone import.
@pytest.mark.parametrize("name", sorted(set(LAYERS) - {"trace"}))
def test_annotations_of_a_method_can_be_evaluated(name: str) -> None:
    hints = typing.get_type_hints(getattr(Stack, name))
    assert hints.pop("return") is Stack
    assert list(hints) == [each.name for each in parameters(LAYERS[name])]


def test_a_method_can_be_pickled() -> None:
    method = pickle.loads(pickle.dumps(stack().retry))
    assert method(2) == stack(Retry(2))


# -- tables --------------------------------------------------------------------------------


def test_the_table_has_every_method_in_alphabetical_order() -> None:
    own = {"layer", "silence", "over"}
    methods = {
        name: method
        for name, method in vars(Stack).items()
        if isinstance(method, types.FunctionType) and not name.startswith("_")
    }
    assert set(methods) - own == set(LAYERS)
    assert sorted(LAYERS) == list(LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_registered_under_its_method(name: str) -> None:
    assert registry.layer_class(name, LAYERS) is LAYERS[name]
    assert registry.layer_name(LAYERS[name], LAYERS) == name


def test_every_layer_is_public_and_has_its_builder_method() -> None:
    public = {
        thing
        for name in kvwrap.__all__
        if inspect.isclass(thing := getattr(kvwrap, name)) and issubclass(thing, Layer)
    }
    assert public - {kvwrap.Layer, kvwrap.Passthrough} == set(LAYERS.values())
    assert public - {kvwrap.Layer} == {getattr(layers, name) for name in layers.__all__}


def test_public_names_are_in_order_and_listed_once() -> None:
    own = kvwrap.__all__[: -len(layers.__all__)]
    assert own + layers.__all__ == kvwrap.__all__
    for names in (own, layers.__all__):
        assert names == sorted(names, key=lambda name: (name.islower(), name))
    assert len(set(kvwrap.__all__)) == len(kvwrap.__all__)


# -- stacks --------------------------------------------------------------------------------


def test_adding_gives_a_new_stack() -> None:
    empty = stack()
    one = empty.clamp_ttl(maximum=60)
    two = one.prefix_collection("a-")
    assert (len(empty), len(one), len(two)) == (0, 1, 2)
    assert two == stack(kvwrap.TTLClamp(maximum=60), kvwrap.PrefixCollection("a-"))
    assert list(two) == list(two.layers)


def test_a_layer_left_out_is_the_one_that_changes_nothing() -> None:
    assert stack().layer() == stack(Passthrough())


def test_a_stack_cannot_be_changed() -> None:
    one = stack(kvwrap.Statistics())
    for name in ("layers", "silenced", "more"):
        with pytest.raises(AttributeError):
            setattr(one, name, ())
    assert one == stack().statistics()
    assert len({one, stack().statistics()}) == 1
    assert one != stack(kvwrap.Statistics(name="other"))


# -- mistakes ------------------------------------------------------------------------------

NOT_LAYERS = [
    pytest.param(
        kvwrap.Statistics, r"the class Statistics: did you mean Statistics\(\)\?", id="class"
    ),
    pytest.param(
        MemoryStore,
        r"the class MemoryStore: did you mean \.over\(MemoryStore\(\)\)\?",
        id="store class",
    ),
    pytest.param(
        MemoryStore(), r"the store MemoryStore: put the stack over it with \.over", id="store"
    ),
    pytest.param(stack(), r"a Stack: join stacks with \+", id="stack"),
    pytest.param("statistics", r"str: did you mean stack\(\)\.statistics\(\)\?", id="name"),
    pytest.param("hunter2", "str$", id="text"),
    pytest.param(int, "the class int$", id="other class"),
    pytest.param({}, "dict$", id="dict"),
    pytest.param([Retry(2)], r"list: write stack\(\*layers\)$", id="list of layers"),
    pytest.param((Retry(2), Retry(3)), r"tuple: write stack\(\*layers\)$", id="tuple of layers"),
    pytest.param([Retry(2), "hunter2"], "list$", id="list of other things"),
]


@pytest.mark.parametrize(("bad", "told"), [*NOT_LAYERS, pytest.param(None, "NoneType$", id="None")])
def test_a_stack_refuses_what_is_not_a_layer(bad: Any, told: str) -> None:
    with pytest.raises(
        kvwrap.ConfigurationError, match=rf"^expected a Layer, got {told}"
    ) as caught:
        stack(bad)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("bad", "told"), NOT_LAYERS)
def test_adding_refuses_what_is_not_a_layer(bad: Any, told: str) -> None:
    with pytest.raises(kvwrap.ConfigurationError, match=rf"^expected a Layer, got {told}"):
        stack().layer(bad)


def test_wrong_arguments_are_refused_where_they_are_given() -> None:
    with pytest.raises(TypeError):
        stack().clamp_ttl(minimun=1)  # type: ignore[call-arg]  # what is to be refused
    with pytest.raises(kvwrap.ConfigurationError):
        stack().prefix_collection("")


def test_a_misspelt_argument_gets_the_nearest_one() -> None:
    with pytest.raises(TypeError, match=r"encrypt\(\) has no argument 'keyrng'.*'keyring'\?"):
        stack().encrypt(keyrng=None)  # type: ignore[call-arg]  # what is to be refused
    with pytest.raises(TypeError, match="'keyring'"):
        stack().encrypt()  # type: ignore[call-arg]  # what is to be refused


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("get", r"put the stack over a store first: stack\(\)\.over\(store\)$"),
        ("put", r"put the stack over a store first: stack\(\)\.over\(store\)$"),
        ("explain", "put the stack over a store first"),
        ("cache", r"did you mean \.read_through\(\.\.\.\)\?$"),
        ("encyrpt", r"did you mean \.encrypt\(\.\.\.\)\?$"),
        ("compression", r"did you mean \.compress\(\.\.\.\)\?$"),
        ("Encryption", r"did you mean \.encrypt\(\.\.\.\)\?$"),
        ("rate_limit", r"did you mean \.limit_rate\(\.\.\.\)\?$"),
        ("default_ttl", r"did you mean \.clamp_ttl\(default=\.\.\.\)\?$"),
        ("expire_after_access", r"did you mean \.slide_ttl\(\.\.\.\)\?$"),
        ("session", r"did you mean \.slide_ttl\(\.\.\.\)\?$"),
        ("sessions", r"did you mean \.slide_ttl\(\.\.\.\)\?$"),
        ("single_flight", r"did you mean \.coalesce\(\.\.\.\), or \.read_through\(\.\.\.\)\?$"),
        ("namespace", r"did you mean \.prefix_collection\(\.\.\.\)\?$"),
        ("l1", r"did you mean \.read_through\(\.\.\.\)\?$"),
        ("near", r"did you mean \.read_through\(\.\.\.\)\?$"),
        ("tier", r"did you mean \.read_through\(\.\.\.\)\?$"),
        ("memory_cache", r"did you mean \.read_through\(\.\.\.\)\?$"),
        ("memoize", r"did you mean @store\.cached\(\) on a function"),
        ("prometheus", r"did you mean \.statistics\(\.\.\.\)\?$"),
        ("ovr", r"did you mean \.over\(\.\.\.\)\?$"),
        ("telepathy", r"help\(Stack\) lists the methods"),
    ],
)
def test_a_method_that_is_missing_gets_the_way_out(name: str, told: str) -> None:
    with pytest.raises(AttributeError, match=rf"has no attribute '{name}': .*{told}") as caught:
        getattr(stack(), name)
    assert caught.value.name == name
    assert not hasattr(stack(), name)


def test_private_names_are_simply_missing() -> None:
    with pytest.raises(AttributeError, match=r"has no attribute '_gett'$"):
        getattr(stack(), "_gett")  # noqa: B009  # type checkers know that it is missing


# -- codes of findings ---------------------------------------------------------------------


class Declaring(Passthrough):
    finding_codes = frozenset({"declared-by-a-test"})


class Silent(Passthrough):
    """Reports a finding whose code its class does not list."""

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: kvwrap.Store
    ) -> Iterable[Finding]:
        return [Finding("undeclared-by-a-test", "Nothing is right.", "Leave it.")]


def test_a_known_code_is_silenced_in_any_place() -> None:
    assert stack().silence("retry-twice").silenced == {"retry-twice"}
    assert stack().silence("retry-twice", "log-of-values").retry().silenced == {
        "retry-twice",
        "log-of-values",
    }


def test_an_unknown_code_gets_the_nearest_one() -> None:
    with pytest.raises(kvwrap.ConfigurationError, match=r"'retry-twise'.*'retry-twice'"):
        stack().retry().silence("retry-twise")
    with pytest.raises(kvwrap.ConfigurationError, match=r"'zzzzz'.*`finding_codes`"):
        stack().silence("retry-twice", "zzzzz")
    for wrong in (3, None, ["retry-twice"]):
        with pytest.raises(kvwrap.ConfigurationError, match="codes must be strings"):
            stack().silence(wrong)  # type: ignore[arg-type]  # what is to be refused


def test_a_declared_code_of_ones_own_layer_is_known() -> None:
    assert stack().silence("declared-by-a-test").layer(Declaring()).silenced
    with pytest.raises(kvwrap.ConfigurationError, match="'declared-by-a-test'"):
        stack(Declaring()).silence("declared-by-a-tset")


def test_an_undeclared_code_is_known_once_its_layer_is_in_the_stack() -> None:
    with pytest.raises(kvwrap.ConfigurationError, match="undeclared-by-a-test"):
        stack().silence("undeclared-by-a-test")
    layers = stack().retry().layer(Silent()).silence("undeclared-by-a-test")
    assert layers.over(MemoryStore()).findings == ()


def test_a_subclass_keeps_the_codes_of_its_base() -> None:
    class Twice(Retry):
        finding_codes = Retry.finding_codes | {"twice-by-a-test"}

    assert stack().silence("retry-twice", "twice-by-a-test").layer(Twice()).silenced
