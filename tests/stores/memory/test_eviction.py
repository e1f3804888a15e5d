"""S3-FIFO: its queue, its ghosts, and what it evicts."""

from __future__ import annotations

import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kvwrap.stores.memory.eviction import S3FIFO, Ghosts, Queue
from kvwrap.stores.shared.s3fifo import MOST_USES


class Item(msgspec.Struct, eq=False):
    """What a store whose entries are elsewhere keeps for each of them."""

    key: str
    weight: int = 1
    uses: int = 0
    place: int = 0
    collection: str | None = None


def items(*names: object) -> list[Item]:
    return [Item(str(name)) for name in names]


def policy_of(made: list[Item]) -> S3FIFO[Item]:
    policy: S3FIFO[Item] = S3FIFO(lambda item: item.weight)
    for item in made:
        policy.add(item)
    return policy


def test_unused_items_are_evicted_in_the_order_in_which_they_came() -> None:
    made = items(*range(20))
    policy = policy_of(made)
    assert [policy.evict() for _ in made] == made
    assert len(policy) == 0
    assert all(item.place == 0 for item in made)


def test_used_items_are_evicted_after_the_others() -> None:
    made = items(*range(20))
    policy = policy_of(made)
    used = made[3:6]
    for item in used:
        item.uses = 1
    assert [policy.evict() for _ in made] == [item for item in made if item not in used] + used


def test_a_use_in_the_main_queue_is_good_for_one_more_round() -> None:
    made = items("once", "twice", "never")
    policy = policy_of(made)
    for item in made:
        item.uses = 1
    policy.add(Item("new"))
    assert policy.evict().key == "new"  # after the others moved to the main queue
    once, twice, never = made
    once.uses, twice.uses = 1, MOST_USES
    assert [policy.evict() for _ in made] == [never, once, twice]


def test_an_evicted_name_that_comes_back_enters_the_main_queue() -> None:
    policy = policy_of(items(*range(100)))
    evicted = policy.evict()
    back = Item(evicted.key)
    policy.add(back)
    assert [policy.evict() for _ in range(90)].count(back) == 0
    assert [policy.evict() for _ in range(10)].count(back) == 1
    # What leaves the main queue is not remembered.
    again = Item(evicted.key)
    policy.add(again)
    policy.add(Item("later"))
    assert policy.evict() is again


def test_a_name_is_one_of_a_collection() -> None:
    policy = policy_of(items(*range(100)))
    evicted = policy.evict()
    policy.add(Item(evicted.key, collection="other"))
    policy.add(Item("later"))
    assert [policy.evict().collection for _ in range(101)][:100].count("other") == 1


def test_the_small_queue_is_a_tenth_by_weight() -> None:
    for weight in (1, 7):
        made = [Item(str(number), weight) for number in range(100)]
        policy = policy_of(made)
        for item in made:
            item.uses = 1
        new = [Item(f"new{number}", weight) for number in range(30)]
        for item in new:
            policy.add(item)
        # The 100 used items move to the main queue; the new ones are above a tenth of 130.
        evicted = [policy.evict() for _ in range(40)]
        assert [item in new for item in evicted[:18]] == [True] * 18
        assert not all(item in new for item in evicted)


def test_weights_follow_what_is_discarded_and_what_changes() -> None:
    large = Item("large", 1000)
    rest = items(*range(50))
    policy = policy_of([*rest, large])
    for item in rest:
        item.uses = 1
    trigger = policy.evict()
    assert trigger is large  # everything before it was used
    for item in rest[:25]:
        policy.discard(item)
    assert len(policy) == 25
    new = Item("new", 1)
    policy.add(new)
    # One of 26 is less than a tenth, so the main queue is next.
    assert policy.evict() is rest[25]
    policy.reweigh(new, 99)
    new.weight = 100
    assert policy.evict() is new


def test_an_eviction_passes_over_a_bounded_number_of_used_items() -> None:
    weighed = 0

    def weigh(_: Item) -> int:
        nonlocal weighed
        weighed += 1
        return 1

    policy: S3FIFO[Item] = S3FIFO(weigh)
    for item in items(*range(20_000)):
        item.uses = MOST_USES
        policy.add(item)
    for _ in range(5):
        weighed = 0
        policy.evict()
        assert weighed < 5_000


@given(
    st.lists(
        st.one_of(
            st.just("evict"),
            st.tuples(st.just("discard"), st.integers(0, 100)),
            st.tuples(st.just("use"), st.integers(0, 100)),
            st.tuples(st.just("add"), st.integers(0, 30)),
        ),
        max_size=400,
    )
)
def test_every_item_is_evicted_or_discarded_once(made: list[object]) -> None:
    policy: S3FIFO[Item] = S3FIFO(lambda item: item.weight)
    present: list[Item] = []
    most = 0
    for change in made:
        match change:
            case "evict" if present:
                present.remove(policy.evict())
            case ("discard", int(index)) if present:
                policy.discard(present.pop(index % len(present)))
            case ("use", int(index)) if present:
                item = present[index % len(present)]
                item.uses = min(MOST_USES, item.uses + 1)
            case ("add", int(number)):
                present.append(Item(str(number), weight=number))
                policy.add(present[-1])
        most = max(most, len(present))
        assert len(policy) == len(present)
        assert policy.ghosts <= most
    for _ in range(len(present)):
        present.remove(policy.evict())
    assert len(policy) == 0


@given(st.lists(st.one_of(st.none(), st.integers(0, 200), st.just("add")), max_size=600))
def test_a_queue_keeps_its_order_whatever_is_removed(made: list[object]) -> None:
    queue: Queue[Item] = Queue()
    present: list[Item] = []
    for number, change in enumerate(made):
        if change == "add" or not present:
            present.append(Item(str(number), place=1))
            queue.append(present[-1])
        elif isinstance(change, int):
            queue.discard(present.pop(change % len(present)))
        else:
            assert queue.popleft() is present.pop(0)
        assert len(queue) == len(present)
    assert [queue.popleft() for _ in range(len(queue))] == present


def test_removed_items_do_not_stay_in_a_queue() -> None:
    rng = random.Random(1)
    queue: Queue[Item] = Queue()
    present: list[Item] = []
    for number in range(20_000):
        if rng.random() < 0.55 and len(present) < 1000:
            present.append(Item(str(number), place=1))
            queue.append(present[-1])
        elif present:
            queue.discard(present.pop(rng.randrange(len(present))))
        assert queue.held <= 1.7 * len(present) + 200
    order = [queue.popleft() for _ in range(len(queue))]
    assert order == present


def test_a_queue_drops_removed_items_while_others_are_added() -> None:
    queue: Queue[Item] = Queue()
    first = [Item(str(number), place=1) for number in range(1000)]
    for item in first:
        queue.append(item)
    for item in first[::3]:
        queue.discard(item)
    assert queue.held > len(queue)
    for number in range(500):
        queue.append(Item(f"new{number}", place=1))
    assert queue.held == len(queue)


def test_ghosts_take_four_bytes_each_and_are_as_many_as_the_items() -> None:
    ghosts = Ghosts()
    assert not ghosts.take(5)
    for hashed in range(10_000):
        ghosts.add(hashed << 32 | hashed, 100)
        assert len(ghosts) == 100
    remembered = [hashed for hashed in range(10_000) if ghosts.take(hashed << 32 | hashed)]
    assert remembered == list(range(9_900, 10_000))
    assert not any(ghosts.take(hashed << 32 | hashed) for hashed in remembered)
    ghosts.add(1 << 40, 199)
    assert len(ghosts) == 100
    ghosts.add(1 << 40, 200)
    assert len(ghosts) == 200
    assert ghosts.take(1 << 40)


def test_ghosts_of_hashes_with_equal_bits_are_told_apart() -> None:
    ghosts = Ghosts()
    ghosts.add(7 << 32 | 3, 10)
    assert not ghosts.take(8 << 32 | 3 + (7 - 8) % 10)
    assert not ghosts.take(3)
    assert ghosts.take(7 << 32 | 3)
    for hashed in (0, -1, -(2**63), 2**63 - 1):
        ghosts.add(hashed, 10)
        assert ghosts.take(hashed)
        assert not ghosts.take(hashed)


def test_the_number_of_names_that_are_remembered_grows_with_what_is_held() -> None:
    policy: S3FIFO[Item] = S3FIFO(lambda item: item.weight)
    assert policy.ghosts == 0
    for number in range(1_000):
        policy.add(Item(str(number)))
    policy.evict()
    assert 100 < policy.ghosts <= 1_000
