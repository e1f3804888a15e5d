"""The queue of expiries returns records in order, and forgets removed ones in time."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from kvwrap.core.entry import Entry
from kvwrap.stores.memory.expiries import Expiries
from kvwrap.stores.memory.record import Record

ENTRY = Entry(b"", b"", 0.0, None, 1)


def remove(expiries: Expiries, record: Record) -> None:
    record.entry = None
    expiries.discard(record)


def pop_all(expiries: Expiries, now: float) -> list[Record]:
    popped = []
    while (record := expiries.pop(now)) is not None:
        assert record.due is None
        popped.append(record)
    return [record for record in popped if record.entry is not None]


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=300), st.integers(0, 60))
def test_records_are_popped_in_the_order_of_their_expiry(
    made: list[tuple[int, bool]], now: int
) -> None:
    expiries = Expiries()
    live: list[tuple[int, Record]] = []
    for due, is_removed in made:
        record = Record(None, str(due), ENTRY)
        expiries.add(record, float(due))
        live.append((due, record))
        if is_removed:
            remove(expiries, live.pop(len(live) // 2)[1])
    popped = [int(record.key) for record in pop_all(expiries, now)]
    assert popped == sorted(due for due, _ in live if due <= now)
    assert expiries.first > now
    rest = [int(record.key) for record in pop_all(expiries, 100)]
    assert rest == sorted(due for due, _ in live if due > now)
    assert len(expiries) == 0


def test_the_order_holds_while_the_heap_is_replaced() -> None:
    for seed in range(10):
        rng, expiries = random.Random(seed), Expiries()
        live: list[Record] = []
        for _ in range(1_500):
            choice = rng.random()
            if choice < 0.5 or not live:
                live.append(Record(None, str(rng.random()), ENTRY))
                expiries.add(live[-1], float(live[-1].key))
            elif choice < 0.9:
                remove(expiries, live.pop(rng.randrange(len(live))))
            else:
                first = min(live, key=lambda record: float(record.key))
                live.remove(first)
                record = expiries.pop(1.0)
                while record is not None and record.entry is None:
                    record = expiries.pop(1.0)
                assert record is first


def test_removed_records_never_outnumber_the_others_by_far() -> None:
    rng = random.Random(1)
    expiries = Expiries()
    live: list[Record] = []
    removed = 0
    for _ in range(20_000):
        if rng.random() < 0.55 and len(live) < 1000:
            live.append(Record(None, "k", ENTRY))
            expiries.add(live[-1], rng.random())
        elif live:
            remove(expiries, live.pop(rng.randrange(len(live))))
            removed += 1
        assert len(expiries) <= 3 * len(live) + 400
    assert removed > 5000
    for record in live:
        remove(expiries, record)
    assert len(expiries) < 1000
    assert pop_all(expiries, 1) == []
    assert len(expiries) == 0


def test_removed_records_that_were_due_are_not_taken_for_others_that_are_left() -> None:
    expiries = Expiries()
    for due in range(2000):
        record = Record(None, "k", ENTRY)
        expiries.add(record, float(due))
        remove(expiries, record)
        assert pop_all(expiries, due) == []
    later = [Record(None, "k", ENTRY) for _ in range(1000)]
    for record in later:
        expiries.add(record, 5000.0)
    for record in later:
        remove(expiries, record)
    assert len(expiries) < 300


def test_a_record_that_is_in_no_queue_may_be_removed() -> None:
    expiries = Expiries()
    for _ in range(1000):
        remove(expiries, Record(None, "k", ENTRY))
    record = Record(None, "k", ENTRY)
    expiries.add(record, 1.0)
    assert pop_all(expiries, 1.0) == [record]
