"""The reference has every public name, every builder method and every command."""

from __future__ import annotations

import importlib
import inspect
import re
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import griffe
import pytest

import kvwrap
import kvwrap.testing
from kvwrap import Stack
from kvwrap.builder import LAYERS
from kvwrap.cli import codes
from kvwrap.cli.main import COMMANDS, create_app
from kvwrap.layers import base
from scripts.griffe_extension import Kvwrap, fence_doctests
from tests.integrations.django import project

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
PAGES = {path.name: path.read_text() for path in sorted(REFERENCE.glob("*.md"))}
DIRECTIVE = re.compile(r"^::: (\S+)((?:\n +.*)*)", re.MULTILINE)


def resolve(path: str) -> Any:
    """Return the module or the object of a dotted path."""
    module, _, name = path.rpartition(".")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Great Expectations uses modules that are deprecated
            return importlib.import_module(path)
    except ModuleNotFoundError:
        return getattr(resolve(module), name)


def shown() -> list[Any]:
    """Return every object that has a place in the reference."""
    objects = []
    for page in PAGES.values():
        for path, options in DIRECTIVE.findall(page):
            thing = resolve(path)
            members = re.search(r"members: \[(.*)\]", options)
            if not isinstance(thing, ModuleType):
                objects.append(thing)
            elif members is not None:
                objects += [getattr(thing, name) for name in members[1].split(", ")]
            else:
                names = getattr(thing, "__all__", None) or [
                    name
                    for name, value in vars(thing).items()
                    if not name.startswith("_")
                    and getattr(value, "__module__", thing.__name__) == thing.__name__
                ]
                objects += [getattr(thing, name) for name in names]
    return objects


# Models can be imported only within a project.
project.set_up()
SHOWN = {id(each) for each in shown()}


@pytest.fixture(scope="module")
def package() -> griffe.Object:
    """Provide kvwrap as the documentation reads it."""
    loaded = griffe.load("kvwrap", extensions=griffe.load_extensions(Kvwrap))
    assert isinstance(loaded, griffe.Object)
    return loaded


# -- names ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", kvwrap.__all__)
def test_public_name_is_in_the_reference(name: str) -> None:
    assert id(getattr(kvwrap, name)) in SHOWN


@pytest.mark.parametrize("name", kvwrap.testing.__all__)
def test_name_for_tests_is_in_the_reference(name: str) -> None:
    assert id(getattr(kvwrap.testing, name)) in SHOWN


@pytest.mark.parametrize("name", base.__all__)
def test_name_for_authors_is_in_the_reference(name: str, package: griffe.Object) -> None:
    thing = getattr(base, name)
    if isinstance(thing, ModuleType):
        assert f"`{name}`" in PAGES["base.md"]
        return
    assert id(thing) in SHOWN
    # Names without a docstring are left out of the pages.
    assert package[f"layers.base.{name}"].has_docstring


@pytest.mark.parametrize("name", kvwrap.__all__)
def test_public_name_says_what_it_is(name: str) -> None:
    assert getattr(kvwrap, name).__doc__


def test_every_page_is_in_the_overview() -> None:
    linked = re.findall(r"\]\((\w+\.md)\)", PAGES["index.md"])
    assert sorted(linked) == sorted(set(PAGES) - {"index.md"})


def test_no_directive_is_without_its_object() -> None:
    paths = [path for page in PAGES.values() for path, _ in DIRECTIVE.findall(page)]
    assert len(paths) == len(set(paths))
    assert all(resolve(path) is not None for path in paths)


# -- the builder ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS)
def test_builder_method_is_in_the_reference(name: str, package: griffe.Object) -> None:
    directives = dict(DIRECTIVE.findall(PAGES["builder.md"]))
    assert "members" not in directives["kvwrap.Stack"]
    method = package[f"builder.Stack.{name}"]
    assert method.is_function
    assert str(method.returns) == "Stack"
    assert [each.name for each in method.parameters] == list(
        inspect.signature(getattr(Stack, name)).parameters
    )
    for each in method.parameters:
        assert each.name == "self" or each.annotation is not None
    first_line = (inspect.getdoc(LAYERS[name]) or "").splitlines()[0]
    assert method.docstring.value.splitlines()[0] == first_line
    assert f"[kvwrap.{LAYERS[name].__name__}]" in method.docstring.value


# -- examples ------------------------------------------------------------------------------


def test_examples_are_blocks_of_code() -> None:
    text = "Before.\n\n>>> f(1)\n2\n\nBetween.\n\n    >>> g(\n    ...     3)\n    4"
    assert fence_doctests(text) == (
        "Before.\n\n```pycon\n>>> f(1)\n2\n```\n\nBetween.\n\n"
        "    ```pycon\n    >>> g(\n    ...     3)\n    4\n    ```"
    )


def test_no_example_is_left_as_prose(package: griffe.Object) -> None:
    stack = package["builder.Stack"].docstring.value
    assert "```pycon\n>>> from kvwrap import MemoryStore, stack\n" in stack
    assert stack.count(">>>") == 3


# -- the command line ----------------------------------------------------------------------


def test_every_command_and_argument_is_in_the_reference() -> None:
    parts = re.split(r"^## kvwrap ([\w-]+)$", PAGES["cli.md"], flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(sections) == list(COMMANDS)
    app = create_app()
    for command, section in sections.items():
        arguments = app[command].assemble_argument_collection(parse_docstring=True)
        usage = re.search(r"```text\n(.*)\n```", section)
        assert usage is not None
        words = re.findall(r"--[a-z-]+|(?<![\w-])[A-Z]+(?=\]|\.\.\.| |$)", usage[1])
        named = {each.name for each in arguments}
        assert named <= set(words), command
        assert {word for word in words if word.startswith("--")} <= named, command
        described = re.findall(r"^\| `([^`]+)`", parts[0] + section, flags=re.MULTILINE)
        assert named - {"STORE"} <= set(described), command


def test_every_exit_code_is_in_the_reference() -> None:
    numbers = [value for value in vars(codes).values() if isinstance(value, int)]
    assert len(numbers) > 5
    for number in numbers:
        assert re.search(rf"^\| {number} \|", PAGES["cli.md"], flags=re.MULTILINE)


def test_what_is_documented_stands_under_the_title_of_its_page() -> None:
    levels = [
        (page, level)
        for page, text in PAGES.items()
        for level in re.findall(r"heading_level: (\d)", text)
    ]
    assert levels
    assert [page for page, level in levels if level == "1"] == []
