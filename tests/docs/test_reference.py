"""The reference has every public name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import kvwrap
import kvwrap.testing

PAGE = (Path(__file__).parents[2] / "docs" / "reference.md").read_text()
SHOWN = set(re.findall(r"^::: (\S+)", PAGE, re.MULTILINE))
ERRORS = {
    name
    for name, value in vars(kvwrap).items()
    if isinstance(value, type) and issubclass(value, Exception)
}


@pytest.mark.parametrize("name", sorted(set(kvwrap.__all__) - ERRORS))
def test_public_name_is_in_the_reference(name: str) -> None:
    assert f"kvwrap.{name}" in SHOWN


@pytest.mark.parametrize("name", sorted(set(kvwrap.testing.__all__) - set(kvwrap.__all__)))
def test_name_for_tests_is_in_the_reference(name: str) -> None:
    assert f"kvwrap.testing.{name}" in SHOWN


def test_errors_are_shown_as_a_module() -> None:
    assert "kvwrap.errors" in SHOWN


@pytest.mark.parametrize("name", kvwrap.__all__)
def test_public_name_says_what_it_is(name: str) -> None:
    assert getattr(kvwrap, name).__doc__
