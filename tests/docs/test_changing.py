"""The recipes of `docs/changing.md` run as they stand there, beside programs that use the data."""

from __future__ import annotations

import asyncio
import inspect
import re
import warnings
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from kvwrap import RedisStore, SQLiteStore, Stack, StackWarning, Store, rewrite
from kvwrap.builder import LAYERS
from kvwrap.layers.base import Transform
from kvwrap.testing.servers import RedisServer, SharedServers
from tests.docs.deployments import Rollout

PAGE = (Path(__file__).parents[2] / "docs" / "changing.md").read_text(encoding="utf-8")
EVENTUAL = {"Near tier (cache)", "Second stores"}
"""Recipes in which a deployment may see what others wrote a little later."""
MOVING = "Names and places (prefix, hashed keys, another backend)"


class Step(NamedTuple):
    """A row of a table: what every process has, and what one of them calls."""

    deployed: str
    call: str


class Recipe(NamedTuple):
    """A table, under its heading."""

    heading: str
    section: str
    steps: list[Step]


def rows_of(table: str) -> list[list[str]]:
    lines = table.strip().splitlines()[2:]
    return [[cell.strip().strip("`") for cell in line.strip("| ").split(" | ")] for line in lines]


def recipes() -> list[Recipe]:
    found, section, heading = [], "", ""
    for match in re.finditer(r"^(##+) (.+)$|((?:^\|.+\n)+)", PAGE, re.MULTILINE):
        level, title, table = match.groups()
        if title:
            heading, section = title, title if level == "##" else section
        elif table.startswith("| step | every process has | then"):
            steps = [Step(cells[1], cells[2] if len(cells) > 2 else "") for cells in rows_of(table)]
            found.append(Recipe(heading, section, steps))
    return found


def changes() -> list[list[str]]:
    (table,) = re.findall(r"^\| change \| .+\n(?:\|.+\n)+", PAGE, re.MULTILINE)
    return rows_of(table)


RECIPES = [each for each in recipes() if each.heading != MOVING]
(MOVES,) = (each for each in recipes() if each.heading == MOVING)


class Deployments:
    """Names of the page, and the stores that its expressions make."""

    def __init__(self, backend: Callable[[], Store], new_place: Callable[[], Store]) -> None:
        (code,) = re.findall(
            r"^```python\n(import asyncio\nimport base64.*?)^```", PAGE, re.MULTILINE | re.DOTALL
        )
        self.names: dict[str, Any] = {}
        exec(compile(code, "<names>", "exec", dont_inherit=True), self.names)
        self._made: list[Store] = []
        for name, make in (
            ("backend", backend),
            ("new_place", new_place),
            ("other_backend", self.names["other_backend"]),
        ):
            self.names[name] = self._recording(make)

    def _recording(self, make: Callable[[], Store]) -> Callable[[], Store]:
        def made() -> Store:
            store = make()
            self._made.append(store)
            return store

        return made

    def evaluate(self, expression: str) -> Any:
        return eval(expression, self.names)

    def deploy(self, step: Step) -> Store:
        """Make what a process of this step has."""
        made = self.evaluate(step.deployed)
        store: Store = made.over(self.names["backend"]()) if isinstance(made, Stack) else made
        return store

    async def call(self, step: Step, store: Store) -> None:
        if step.call:
            result = eval(step.call, {**self.names, "store": store})
            assert inspect.isawaitable(result)
            await result

    async def close(self) -> None:
        for store in self._made:
            await store.close()


@pytest_asyncio.fixture(params=["sqlite", "redis"])
async def deployments(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Deployments]:
    monkeypatch.chdir(tmp_path)
    if request.param == "sqlite":
        file = partial(SQLiteStore, "app.db", synchronous="normal")
        places = file, partial(file, table="v2")
    else:
        servers: SharedServers = request.getfixturevalue("servers")
        url, name = servers.url(RedisServer), f"changing-{tmp_path.name}"
        places = (
            partial(RedisStore, url, namespace=name),
            partial(RedisStore, url, namespace=f"{name}-v2"),
        )
    # On a thread, since the page's code has an `asyncio.run`.
    made = await asyncio.to_thread(Deployments, *places)
    yield made
    await made.close()


async def follow(deployments: Deployments, steps: list[Step], rollout: Rollout) -> Store:
    """Take every step of a recipe while two deployments are used. Returns the last stack, open."""
    current = await deployments.deploy(steps[0]).__aenter__()
    await rollout.fill(current)
    await deployments.call(steps[0], current)
    await rollout.run(current, current)
    for step in steps[1:]:
        # The rollout: an old process and a new one.
        new = await deployments.deploy(step).__aenter__()
        await rollout.run(current, new)
        await current.close()
        # The old ones are gone. One of two new processes makes the call.
        second = await deployments.deploy(step).__aenter__()
        await asyncio.gather(rollout.run(new, second), deployments.call(step, second))
        await rollout.run(second, new)
        await deployments.call(step, second)
        await rollout.check(new)
        await second.close()
        current = new
    await rollout.check(current)
    return current


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.heading)
async def test_a_recipe_loses_nothing(recipe: Recipe, deployments: Deployments) -> None:
    rollout = Rollout(eventual=recipe.section in EVENTUAL)
    with warnings.catch_warnings():
        warnings.simplefilter("error", StackWarning)
        store = await follow(deployments, recipe.steps, rollout)
    if any(isinstance(layer, Transform) for layer in store.layers):
        report = await rewrite(store, dry_run=True)
        assert (report.rewritten, report.failed) == (0, 0), report
    await store.close()


@pytest.mark.parametrize("change", changes(), ids=lambda change: change[0])
async def test_entries_move_between_two_places(change: list[str], deployments: Deployments) -> None:
    _, before, after, place = change
    names = deployments.names
    names["before"] = lambda: deployments.evaluate(before).over(names["backend"]())
    names["after"] = lambda: deployments.evaluate(after).over(deployments.evaluate(place))
    with warnings.catch_warnings():
        warnings.simplefilter("error", StackWarning)
        store = await follow(deployments, MOVES.steps, Rollout(takes_turns=True))
        async with names["before"]() as old:
            assert await old.keys("users") == await old.keys() == []
    await store.close()


def test_every_layer_has_a_recipe() -> None:
    (table,) = re.findall(r"^\| what changes \| .+\n(?:\|.+\n)+", PAGE, re.MULTILINE)
    named = set(re.findall(r"`(\w+)`", table))
    assert set(LAYERS) <= named


def test_there_are_recipes() -> None:
    assert len(RECIPES) > 15
    assert len(changes()) > 5
    assert all(len(recipe.steps) > 1 for recipe in recipes())
