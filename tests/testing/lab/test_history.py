"""The checkers find every falsification of a history, and nothing in a true one."""

from __future__ import annotations

import random
from bisect import bisect_left

import pytest

from kvwrap.testing.lab import History, Operation, older_reads, overlaps, repetitions

BOUND = 1.0


def history(*operations: tuple[object, ...]) -> History:
    return History(lambda: 0.0, [Operation(*each) for each in operations])  # type: ignore[arg-type]


def true_history(rng: random.Random) -> History:
    """Return a history of processes whose reads are late by less than the bound.

    Each write takes effect at a moment between its beginning and its end.
    """
    made = History(lambda: 0.0)
    effects = [(-1e9, 0)]
    for value in range(1, 30):
        effect = rng.uniform(0, 20)
        effects.append((effect, value))
        process = rng.choice("abc")
        began, ended = effect - rng.uniform(0, 0.3), effect + rng.uniform(0, 0.3)
        made.append(Operation(process, "write", "k", began, ended, value))
    effects.sort()
    for _ in range(60):
        began = rng.uniform(0, 20)
        state = began - rng.uniform(0, BOUND)
        value = effects[bisect_left(effects, (state, 0)) - 1][1]
        made.append(Operation("reader", "read", "k", began, began + rng.random(), value or None))
    return made


@pytest.mark.parametrize("seed", range(5))
def test_older_reads_finds_nothing_in_a_true_history_and_each_falsified_read(seed: int) -> None:
    rng = random.Random(seed)
    made = true_history(rng)
    assert older_reads(made, BOUND) == []
    writes = made.of("write")["k"]
    falsified = 0
    for read in made.of("read")["k"]:
        true, began = read.value, read.began
        for write in writes:
            followers = [each.ended for each in writes if each.began > write.ended]
            read.value = write.value
            if min(followers, default=21.0) < began - BOUND or write.began > read.ended:
                assert len(older_reads(made, BOUND)) == 1, (read, write)
                falsified += 1
        read.value = -1
        assert "nobody" in older_reads(made, BOUND)[0]
        read.value = true
    assert falsified > 100


def test_a_process_reads_its_own_writes_at_once() -> None:
    writes = [("a", "write", "k", 0.0, 0.1, 1), ("a", "write", "k", 0.2, 0.3, 2)]
    assert not older_reads(history(*writes, ("b", "read", "k", 0.4, 0.5, 1)), BOUND)
    (found,) = older_reads(history(*writes, ("a", "read", "k", 0.4, 0.5, 1)), BOUND)
    assert found == "a read k = 1 at 0.400 s: it had replaced that itself by 2"
    assert not older_reads(history(*writes, ("a", "read", "k", 0.25, 0.5, 1)), BOUND)


def test_a_deletion_is_a_write_of_none() -> None:
    writes = [("a", "write", "k", 0.0, 0.1, 1), ("a", "write", "k", 1.0, 1.1, None)]
    assert older_reads(history(*writes, ("b", "read", "k", 3.0, 3.1, 1)), BOUND)
    assert older_reads(history(*writes[:1], ("b", "read", "k", 3.0, 3.1, None)), BOUND)
    assert not older_reads(history(*writes, ("b", "read", "k", 3.0, 3.1, None)), BOUND)


def test_what_did_not_return_may_have_happened_at_any_time() -> None:
    unended = Operation("a", "write", "k", 0.0, value=1)
    later = Operation("a", "write", "k", 2.0, 2.1, value=2)
    for read in (1, 2):
        made = history(("b", "read", "k", 9.0, 9.1, read))
        made += [unended, later]
        assert not older_reads(made, BOUND)
    failed = history(("b", "write", "k", 0.0, 0.1, 1), ("b", "write", "k", 0.2, 0.3, 2))
    failed.append(Operation("a", "read", "k", 9.0, value=1))
    assert not older_reads(failed, BOUND)


def test_overlaps_finds_two_holders_also_behind_a_short_one() -> None:
    apart = [("a", "hold", "k", 0.0, 1.0), ("b", "hold", "k", 1.0, 2.0), ("c", "hold", "j", 0, 9)]
    assert overlaps(history(*apart), "hold") == []
    (found,) = overlaps(history(*apart, ("d", "hold", "k", 1.9, 3.0)), "hold")
    assert found == "d began to hold k at 1.900 s, before b had ended"
    long = [("a", "hold", "k", 0.0, 9.0), ("b", "hold", "k", 1.0, 2.0), ("c", "hold", "k", 3.0, 4)]
    assert len(overlaps(history(*long), "hold")) == 2


def test_a_killed_holder_holds_until_it_was_killed() -> None:
    made = history(("b", "hold", "k", 2.0, 3.0))
    made.insert(0, Operation("a", "hold", "k", 0.0))
    assert overlaps(made, "hold")
    made.killed["a"] = 2.0
    assert not overlaps(made, "hold")
    made.killed["a"] = 2.5
    assert overlaps(made, "hold")


def test_repetitions_counts_by_key() -> None:
    made = history(("a", "compute", "k", 0, 1), ("b", "compute", "k", 5, 6), ("a", "read", "k", 0))
    assert repetitions(made, "compute") == ["k: compute by a, b; expected 1"]
    assert repetitions(made, "compute", at_most=2) == []
