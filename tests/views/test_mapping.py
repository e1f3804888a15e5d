"""`kvwrap.mapping(store)`: a collection as a `MutableMapping`."""

from __future__ import annotations

from collections.abc import MutableMapping

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import kvwrap
from kvwrap import (
    InvalidKey,
    InvalidTTL,
    InvalidValue,
    KeyNotFound,
    MemoryStore,
    SerializationError,
    Statistics,
    stack,
)
from kvwrap.core.capability import Capability


class Plain(MemoryStore):
    """A store that can neither compare versions nor drop a collection."""

    capabilities = MemoryStore.capabilities - {
        Capability.COMPARE_AND_PUT,
        Capability.DESTROY_COLLECTION,
    }


@pytest.fixture(params=[MemoryStore, Plain])
def users(request, clock):
    counted = stack().statistics().over(request.param(clock=clock))
    with kvwrap.mapping(counted, "users") as mapping:
        yield mapping


def test_it_is_a_mutable_mapping(users):
    assert isinstance(users, MutableMapping)
    users["ada"] = {"age": 36}
    assert users["ada"] == {"age": 36}
    assert "ada" in users
    assert len(users) == 1
    assert users
    del users["ada"]
    assert "ada" not in users
    assert not users


@pytest.mark.parametrize(
    "access",
    [
        lambda users: users["x"],
        lambda users: users.pop("x"),
        lambda users: users.__delitem__("x"),
        lambda users: users.popitem(),
    ],
)
def test_a_missing_key_raises_key_error(users, access):
    with pytest.raises(KeyError):
        access(users)
    with pytest.raises(KeyNotFound):
        access(users)


def test_iteration(users):
    users.update(b=2, a=1)
    assert sorted(users) == ["a", "b"]
    assert dict(users) == {"a": 1, "b": 2}
    assert sorted(users.items()) == [("a", 1), ("b", 2)]
    assert sorted(users.values()) == [1, 2]
    assert sorted(users.keys()) == ["a", "b"]
    assert users == {"a": 1, "b": 2}
    assert ("a", 1) in users.items()


def test_other_collections_are_not_in_it(users):
    users["a"] = 1
    users.store.put("b", 2)
    assert list(users) == ["a"]
    users.clear()
    assert users.store.get("b") == 2


def test_update_is_one_batch(users):
    statistics = users.store.find(Statistics)
    users.update({"a": 1, "b": 2}, c=3)
    users.update([("d", 4)])
    users.update()
    assert statistics.snapshot().writes.calls == 2
    assert statistics.snapshot().writes.keys == 4


def test_items_are_read_in_batches(users):
    users.update({str(number): number for number in range(200)})
    statistics = users.store.find(Statistics)
    statistics.reset()
    assert sorted(users.values()) == list(range(200))
    assert statistics.snapshot().reads.calls == 1


def test_get_many(users):
    users.update(a=1, b=2)
    assert users.get_many(["a", "x", "b"]) == {"a": 1, "b": 2}
    users["none"] = None
    assert users.get_many(["a", "none", "x"]) == {"a": 1, "none": None}
    assert users.get_many([]) == {}
    assert users.get("a") == 1
    assert users.get("x", 5) == 5


def test_none_is_a_value(users):
    users["a"] = None
    assert "a" in users
    assert users["a"] is None
    assert users.setdefault("a", 1) is None
    assert users.pop("a", 1) is None
    assert users.pop("a", 1) == 1


def test_pop_popitem_setdefault_clear(users):
    users.update(a=1, b=2)
    assert users.pop("a") == 1
    assert users.popitem() == ("b", 2)
    assert users.setdefault("c", [1]) == [1]
    assert users.setdefault("c", [2]) == [1]
    with pytest.raises(TypeError):
        users.pop("c", 1, 2)
    users["d"] = 1
    users.clear()
    assert not users


NO_KEYS = [5, None, ("a",), b"a", object(), "", "\ud800"]


@pytest.mark.parametrize("key", NO_KEYS, ids=lambda key: type(key).__name__)
def test_what_cannot_be_a_key_is_not_in_the_mapping(users, key):
    users["a"] = 1
    assert key not in users
    assert users.get(key) is None
    assert users.pop(key, "default") == "default"
    for access in (users.__getitem__, users.__delitem__, users.pop):
        with pytest.raises(KeyNotFound) as caught:
            access(key)
        assert isinstance(caught.value.__cause__, InvalidKey)
    assert users == {"a": 1}


@pytest.mark.parametrize("key", NO_KEYS, ids=lambda key: type(key).__name__)
def test_what_cannot_be_a_key_is_not_put(users, key):
    error = InvalidKey if isinstance(key, str) else TypeError
    puts = (
        lambda: users.__setitem__(key, 1),
        lambda: users.setdefault(key, 1),
        lambda: users.update({"a": 1, key: 1}),
    )
    for put in puts:
        with pytest.raises(error) as caught:
            put()
        assert isinstance(caught.value, InvalidKey)
    assert not users


def test_a_serializers_own_error_is_the_cause_where_it_cannot_quote_the_value():
    class Odd:
        name = "odd"

        def dumps(self, value):
            if value == "secret":
                raise ValueError(value)
            return value.missing

        def loads(self, body): ...

    with kvwrap.mapping(MemoryStore(serializer=Odd())) as values:
        with pytest.raises(SerializationError) as caught:
            values["a"] = 1
        assert isinstance(caught.value.__cause__, AttributeError)
        with pytest.raises(SerializationError, match="ValueError") as caught:
            values["a"] = "secret"
        assert caught.value.__cause__ is None


def test_values_are_copies(users):
    users["a"] = [1]
    users["a"].append(2)
    assert users["a"] == [1]


def test_ttl(clock):
    with kvwrap.mapping(MemoryStore(clock=clock), ttl=10) as short:
        short["a"] = 1
        short.update(b=2)
        short.setdefault("c", 3)
        assert len(short) == 3
        clock.advance(10)
        assert not short
        assert short.get("a") is None
    with pytest.raises(InvalidTTL):
        kvwrap.mapping(MemoryStore(), ttl=-1)


def test_a_view_of_the_caller_stays_open(clock):
    with kvwrap.sync(MemoryStore(clock=clock)) as store:
        with kvwrap.mapping(store, "a") as one, kvwrap.mapping(store, "b") as other:
            one["k"] = 1
            assert "k" not in other
        assert store.get("k", collection="a") == 1
        assert repr(one) == f"mapping({store!r}, collection='a')"


_keys = st.sampled_from(["a", "b", "ü", "a b"])
_values = st.none() | st.integers(0, 9) | st.lists(st.text(max_size=2), max_size=2)


class AsADict(RuleBasedStateMachine):
    """After any sequence of operations, the mapping equals a dict after the same operations."""

    def __init__(self):
        super().__init__()
        self.dict = {}
        self.mapping = kvwrap.mapping(MemoryStore(), "c")

    @rule(key=_keys, value=_values)
    def set(self, key, value):
        self.dict[key] = self.mapping[key] = value

    @rule(key=_keys, default=_values)
    def pop(self, key, default):
        assert self.dict.pop(key, default) == self.mapping.pop(key, default)

    @rule(key=_keys, default=_values)
    def setdefault(self, key, default):
        assert self.dict.setdefault(key, default) == self.mapping.setdefault(key, default)

    @rule(values=st.dictionaries(_keys, _values))
    def update(self, values):
        self.dict.update(values)
        self.mapping.update(values)

    @rule(key=_keys)
    def delete(self, key):
        for mapping in (self.dict, self.mapping):
            try:
                del mapping[key]
            except KeyError:
                assert key not in self.dict

    @rule()
    def clear(self):
        self.dict.clear()
        self.mapping.clear()

    @invariant()
    def equal(self):
        assert self.mapping == self.dict
        assert len(self.mapping) == len(self.dict)

    def teardown(self):
        self.mapping.close()


TestAsADict = AsADict.TestCase
TestAsADict.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)


# -- what keyvalue-sqlite's dict has -----------------------------------------------------


def test_ranges_include_both_ends(users):
    users.update({key: ord(key) for key in "edcba"})
    users["c\0"] = 0
    assert users.key_range("b", "c") == ["b", "c"]
    assert users.get_range("b", "d") == [("b", 98), ("c", 99), ("c\0", 0), ("d", 100)]
    assert list(users.dict_range("d", "z").items()) == [("d", 100), ("e", 101)]
    assert users.get_range("d", "b") == []
    assert users.get_range("", "a") == [("a", 97)]
    with pytest.raises(TypeError):
        users.get_range("a", 5)


def test_values_of_any_kind_are_in_a_range(users):
    users.update(a={"x": 1}, b=[1], c=None)
    assert users.get_range("a", "c") == [("a", {"x": 1}), ("b", [1]), ("c", None)]


def test_insert_or_ignore(users):
    users["a"] = None
    users.insert_or_ignore({"a": 1, "b": 2})
    assert users.to_dict() == {"a": None, "b": 2}
    users.insert_or_ignore({})
    users.set_default("b", 3)
    users.set_default("c", 4)
    assert users.to_dict() == {"a": None, "b": 2, "c": 4}
    with pytest.raises(TypeError):
        users.insert_or_ignore({"d": 1, 5: 2})
    assert "d" not in users


def test_insert_or_ignore_is_one_batch():
    with kvwrap.mapping(stack().statistics().over(MemoryStore())) as mapping:
        statistics = mapping.store.find(Statistics)
        mapping.insert_or_ignore({str(number): number for number in range(50)})
        assert statistics.snapshot().writes.calls == 1
        assert len(mapping) == 50


def test_atomic_add():
    with kvwrap.mapping(MemoryStore()) as mapping:
        assert mapping.atomic_add("n", 2) == 2
        assert mapping.atomic_add("n", -3) == -1
        mapping["text"] = "x"
        with pytest.raises(InvalidValue):
            mapping.atomic_add("text", 1)
        with pytest.raises(TypeError):
            mapping.atomic_add(5, 1)


def test_remove(users):
    users["a"] = 1
    users.remove("a")
    with pytest.raises(KeyError):
        users.remove("a")
    users.remove("a", ignore_missing_key=True)


def test_what_it_inserts_has_the_ttl(clock):
    with kvwrap.mapping(MemoryStore(clock=clock), ttl=5) as mapping:
        mapping.insert_or_ignore({"a": 1})
        mapping.atomic_add("n", 1)
        clock.advance(6)
        assert not mapping
