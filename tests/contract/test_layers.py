"""Both contracts, for every layer and whole stack of the catalog.

The layer contract runs over the stores in `UNDER_EVERY_LAYER`. The store contract takes longer. It
runs for every layer over memory, and for whole stacks over the other stores too. `make soak` runs
it for every layer over each of these stores.
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
from tests.catalog import (
    ALIASES,
    LAYERS,
    STACKS,
    STORES,
    TELLS_NO_NAMES,
    UNDER_EVERY_LAYER,
    Case,
    Resources,
)

CASES = {**LAYERS, **STACKS}
ALL_PAIRS = [(name, store) for name in CASES for store in UNDER_EVERY_LAYER]
SOAK = bool(os.environ.get("KVWRAP_SOAK"))
PAIRS = [(name, store) for name, store in ALL_PAIRS if SOAK or store == "memory" or name in STACKS]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize with layers and stores, except for tests that a layer contradicts."""
    test = metafunc.definition.originalname
    pairs = ALL_PAIRS if metafunc.cls is TestLayer else PAIRS
    pairs = [
        (name, store)
        for name, store in pairs
        if test not in CASES[name].exempt and (CASES[name].writable or pairs is ALL_PAIRS)
    ]
    metafunc.parametrize(("case", "store_name"), pairs, indirect=["case"])


def _without(table: Mapping[str, Any], titles: Collection[str]) -> dict[str, Any]:
    return {title: make for title, make in table.items() if title not in titles}


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """Provide the layer or stack that the test is parametrized with."""
    return CASES[request.param]


@pytest.fixture
def layers(case: Case, clock: ManualClock) -> Stack:
    """Provide the stack of the case."""
    return case.make(clock)


class TestLayer(LayerContract):
    @pytest.fixture
    def layers(self, case: Case, clock: ManualClock) -> Stack:
        return case.make(clock)

    @pytest.fixture(autouse=True)
    def _expectations(self, case: Case, store_name: str) -> None:
        self.__dict__.update(lost=case.lost, gained=case.gained, writable=case.writable)

    @pytest_asyncio.fixture
    async def backend(self, store_name: str, resources: Resources) -> AsyncIterator[Store]:
        async with STORES[store_name](resources) as store:
            yield store


class TestStoreUnder(StoreContract):
    @pytest.fixture(autouse=True)
    def _expectations(self, case: Case, store_name: str) -> None:
        self.__dict__.update(
            default_alias=ALIASES.get(store_name),
            tells_names=store_name not in TELLS_NO_NAMES,
            values=_without(VALUES, case.other_values),
            refused=_without(REFUSED, case.other_values),
        )

    @pytest_asyncio.fixture
    async def store(
        self, layers: Stack, store_name: str, resources: Resources
    ) -> AsyncIterator[Store]:
        async with layers.over(STORES[store_name](resources)) as store:
            yield store
