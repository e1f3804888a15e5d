"""`kvwrap bench`: latencies, bytes at rest and the cost of layers."""

from __future__ import annotations

import json

import pytest

from kvwrap.cli.measuring import sample_values
from kvwrap.core.serializer import JSON
from tests.cli.conftest import Run


def test_a_stack_is_measured_and_leaves_nothing(stacks: str, run: Run) -> None:
    store = f"{stacks}#sessions"
    run("put", store, "k", "1")
    described = json.loads(run("bench", store, "--rounds", "5", "--size", "400", "--json").out)
    assert [each["operation"] for each in described["operations"]] == [
        "put",
        "get",
        "get, nothing there",
        "put_many of 5",
        "get_many of 5",
        "delete",
    ]
    assert all(0 < each["median"] <= each["p99"] for each in described["operations"])
    assert 0 < described["bytes"]["at_rest"] < described["bytes"]["value"]
    assert [each["name"] for each in described["layers"]] == ["compress", "encrypt", "backend"]
    assert run("collections", store, "--count").out == "collection\tentries\n(default)\t1\n"


def test_a_url_has_no_layers(run: Run) -> None:
    result = run("bench", "memory://", "--rounds", "3")
    assert result.code == 0
    assert "get, nothing there" in result.out
    *_, names, sizes = result.out.splitlines()
    assert names == "bytes as JSON\tbytes at rest\t% of it"
    value, at_rest, share = map(int, sizes.split("\t"))
    assert (value, share) == (at_rest, 100)


def test_people_get_tables(stacks: str, run: Run, terminal: None) -> None:
    out = run("bench", f"{stacks}#sessions", "--rounds", "3").out
    assert "median us" in out
    assert "\nencrypt " in out


@pytest.mark.parametrize("option", ["--rounds", "--size"])
def test_counts_are_checked(option: str, run: Run) -> None:
    assert run("bench", "memory://", option, "0").code == 2


@pytest.mark.parametrize("size", [1, 100, 5_000])
def test_values_are_of_about_the_size_and_the_same_each_time(size: int) -> None:
    values = sample_values(20, size)
    assert values == sample_values(20, size)
    for value in values:
        assert abs(len(JSON.dumps(value)) - size) < 100
