"""A `TestCase` of Django: what a blocking view writes is in its transaction, which is undone."""

from __future__ import annotations

import unittest
from typing import Any

import pytest
from django.test import TestCase

import kvwrap
from kvwrap import Keyring, SyncStore, stack
from kvwrap.integrations.django import DjangoStore
from tests.integrations.django import project


def cases(view: SyncStore, alias: str) -> type[TestCase]:
    """Return tests that each see what all share, and nothing of one another."""

    class Cases(TestCase):
        databases = frozenset({alias})

        @classmethod
        def setUpTestData(cls) -> None:
            view.put("shared", 1)

        def leave(self) -> None:
            assert view.keys() == ["shared"]
            assert view.increment("shared") == 2
            view.put_many(["left", "behind"], [1, 2])
            assert view.count() == 3

        def test_first(self) -> None:
            self.leave()

        def test_second(self) -> None:
            self.leave()

        def test_calls_after_an_error_go_on(self) -> None:
            with pytest.raises(kvwrap.InvalidKey):
                view.put("", 1)
            self.leave()

        async def test_async_code_is_in_the_transaction_too(self) -> None:
            store = DjangoStore(alias)
            assert await store.get("left") is None
            await store.put("left", 1)
            assert await store.count() == 2

    return Cases


def test_each_test_is_undone(alias: str) -> None:
    view = kvwrap.sync(
        stack().compress(min_size=0).encrypt(Keyring.generate("k")).over(DjangoStore(alias))
    )

    def run() -> Any:
        with view:
            view.put("before", 1)
            view.delete("before")
            suite = unittest.defaultTestLoader.loadTestsFromTestCase(cases(view, alias))
            result = unittest.TestResult()
            suite.run(result)
            return result, view.keys()

    result, left = project.in_thread(run)
    assert [text for _, text in (*result.errors, *result.failures)] == []
    assert result.testsRun == 4
    assert left == []
