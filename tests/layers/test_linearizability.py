"""The checker of histories tells what no order explains."""

from __future__ import annotations

from tests.layers.linearizability import History, Operation


def history(*operations: Operation) -> History:
    return History(operations=list(operations))


def test_an_acknowledged_write_that_a_later_read_misses_is_not_explained() -> None:
    put, missed = Operation("put", 5, 1, 2), Operation("get", None, 3, 4, None)
    assert not history(put, missed).is_linearizable
    assert history(put, Operation("get", None, 3, 4, 5)).is_linearizable


def test_a_failed_write_may_have_happened_or_not() -> None:
    failed = Operation("put", 5, 1)
    assert history(failed, Operation("get", None, 3, 4, None)).is_linearizable
    assert history(failed, Operation("get", None, 3, 4, 5)).is_linearizable
    back = [Operation("get", None, 3, 4, 5), Operation("get", None, 5, 6, None)]
    assert not history(failed, *back).is_linearizable


def test_a_number_that_is_given_twice_is_not_explained() -> None:
    assert not history(*(Operation("increment", None, n, 9, 1) for n in (1, 2))).is_linearizable


def test_one_of_two_concurrent_deletes_finds_the_value() -> None:
    value = Operation("put", 5, 1, 2)
    both = [Operation("delete", None, 3, 9, True), Operation("delete", None, 4, 8, True)]
    assert not history(value, *both).is_linearizable
    assert history(value, both[0], Operation("delete", None, 4, 8, False)).is_linearizable
