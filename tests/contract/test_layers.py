"""Both contracts over every layer and whole stack of the catalog.

The layer contract runs over every store. The store contract, which is long, runs under
every layer over memory, and under whole stacks over the other stores too; `make soak`
runs it under every layer over every store.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

import pytest
import pytest_asyncio

from kvwrap import Stack, Store
from kvwrap.testing import LayerContract, ManualClock, StoreContract
from kvwrap.testing.contract.values import REFUSED, VALUES
from tests.catalog import ALIASES, LAYERS, STACKS, STORES, Case, Place

CASES = {**LAYERS, **STACKS}
EVERY = [(name, store) for name in CASES for store in STORES]
SOAK = bool(os.environ.get("KVWRAP_SOAK"))
USUAL = [(name, store) for name, store in EVERY if SOAK or store == "memory" or name in STACKS]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every layer over every store, but for what the layer is there to do otherwise."""
    test = metafunc.definition.originalname
    pairs = EVERY if metafunc.cls is TestLayer else USUAL
    pairs = [
        (name, store)
        for name, store in pairs
        if test not in CASES[name].exempt and (CASES[name].writable or pairs is EVERY)
    ]
    metafunc.parametrize(("case", "where"), pairs, indirect=["case"])


def _without(table: Mapping[str, Any], titles: Collection[str]) -> dict[str, Any]:
    return {title: make for title, make in table.items() if title not in titles}


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """The layer or stack that the test is parametrized with."""
    return CASES[request.param]


@pytest.fixture
def layers(case: Case, clock: ManualClock) -> Stack:
    """The case's stack."""
    return case.make(clock)


class TestLayer(LayerContract):
    @pytest.fixture
    def layers(self, case: Case, clock: ManualClock) -> Stack:
        return case.make(clock)

    @pytest.fixture(autouse=True)
    def _expectations(self, case: Case, where: str) -> None:
        self.__dict__.update(lost=case.lost, gained=case.gained, writable=case.writable)

    @pytest_asyncio.fixture
    async def backend(self, where: str, place: Place) -> AsyncIterator[Store]:
        async with STORES[where](place) as store:
            yield store


class TestStoreUnder(StoreContract):
    @pytest.fixture(autouse=True)
    def _expectations(self, case: Case, where: str) -> None:
        self.__dict__.update(
            default_alias=ALIASES.get(where),
            values=_without(VALUES, case.other_values),
            refused=_without(REFUSED, case.other_values),
        )

    @pytest_asyncio.fixture
    async def store(self, layers: Stack, where: str, place: Place) -> AsyncIterator[Store]:
        async with layers.over(STORES[where](place)) as store:
            yield store
