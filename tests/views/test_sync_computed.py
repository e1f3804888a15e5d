"""Computed values and cached functions through the blocking view."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest

import kvwrap
from kvwrap import ConfigurationError, Deadlock, InvalidValue, MemoryStore, StoreUnavailable, stack
from kvwrap.core.typed import TypedStore
from kvwrap.views.sync_typed import SyncTypedStore

CALLS: list[object] = []


@dataclass(frozen=True)
class User:
    name: str


@pytest.fixture
def store():
    CALLS.clear()
    with kvwrap.sync(MemoryStore()) as view:
        yield view


def test_plain_functions_are_cached(store):
    @store.cached(ttl=60, collection="squares")
    def square(number, *, plus=0):
        """Squares."""
        CALLS.append(threading.get_ident())
        return number * number + plus

    assert [square(3), square(number=3), square(3, plus=1)] == [9, 9, 10]
    assert [threading.get_ident()] * 2 == CALLS
    assert square.__doc__ == "Squares."
    assert store.keys("squares") == [square.key(3), square.key(3, plus=1)]
    assert square.invalidate(3)
    assert not square.invalidate(3)
    assert store.computations.computed == 2


def test_methods_are_cached(store):
    @dataclass(frozen=True)
    class Source:
        name: str

        @store.cached(key=lambda self, number: f"{self.name}-{number}")
        def line(self, number):
            CALLS.append((self.name, number))
            return f"{self.name} {number}"

        @store.cached(key=lambda cls, number: f"{cls.__name__}-{number}")
        @classmethod
        def of_class(cls, number):
            return f"{cls.__name__} {number}"

    one, two = Source("one"), Source("two")
    assert [one.line(1), one.line(1), two.line(1)] == ["one 1", "one 1", "two 1"]
    assert one.line.key(1) == Source.line.key(one, 1)
    assert one.line.invalidate(1)
    assert one.line(1) == "one 1"
    assert len(CALLS) == 3
    assert Source.of_class(2) == one.of_class(2) == "Source 2"
    assert Source.of_class.invalidate(2)


def test_async_functions_are_refused(store):
    with pytest.raises(ConfigurationError, match="plain function"):

        @store.cached()
        async def wrong(): ...

    with pytest.raises(TypeError, match="parentheses"):
        store.cached(len)


def test_models_and_none(store):
    @store.cached(model=User)
    def find(name):
        return User(name) if name else None

    assert find("ada") == find("ada") == User("ada")
    assert find("") is None
    assert find("") is None
    assert store.computations.computed == 2


def test_serialization_and_factories_run_on_the_callers_thread():
    threads = set()

    class Noting:
        name = "noting"

        def dumps(self, value):
            threads.add(threading.get_ident())
            return str(value).encode()

        def loads(self, data):
            threads.add(threading.get_ident())
            return data.decode()

    with kvwrap.sync(MemoryStore(serializer=Noting())) as store:
        store.get_or_put("a", lambda: threads.add(threading.get_ident()) or 1)
        store.get_or_put("a", lambda: 2)
    assert threads == {threading.get_ident()}


def test_one_call_at_a_time_across_threads(store):
    go, results = threading.Event(), []

    def slow():
        CALLS.append(1)
        assert go.wait(30)
        return 7

    def call():
        results.append(store.get_or_put("k", slow, keep=lambda value: False))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    while not CALLS:
        store.get("other")
    for _ in range(200):  # until the others wait
        store.get("other")
    go.set()
    for thread in threads:
        thread.join(30)
    assert results == [7] * 8
    assert len(CALLS) <= 8


def test_a_store_that_fails_costs_the_caching_only():
    with kvwrap.sync(stack().chaos(failure_rate=1).over(MemoryStore())) as store:

        @store.cached()
        def double(number):
            return 2 * number

        assert double(2) == double(2) == 4
        with pytest.raises(StoreUnavailable):
            store.get_or_put("k", lambda: 1)
        assert store.get_or_put("k", lambda: 1, on_error="compute") == 1
        assert store.computations.store_failures >= 4


def test_what_no_longer_fits_is_computed_again(store):
    store.put("user", {"wrong": 1})

    @store.cached(model=User, key=lambda: "user")
    def find():
        return User("ada")

    assert find() == User("ada")
    assert store.get("user") == {"name": "ada"}
    assert store.computations.invalid == 1


def test_a_wrong_result_is_no_failure_of_the_store(store):
    @store.cached(model=User)
    def find():
        return 1

    with pytest.raises(InvalidValue):
        find()


def test_a_function_that_needs_itself_is_told(store):
    @store.cached()
    def endless(number):
        return endless(number)

    with pytest.raises(Deadlock):
        endless(1)


def test_a_stale_value_and_a_slow_function():
    go, begun = threading.Event(), []
    with kvwrap.sync(MemoryStore()) as store:

        def call(factory, soft_timeout=None):
            return store.get_or_put(
                "k", factory, ttl=1e-6, stale_ttl=1000, soft_timeout=soft_timeout
            )

        def slow():
            begun.append(threading.get_ident())
            assert go.wait(30)
            return "new"

        def fails():
            raise LookupError

        assert call(lambda: "old") == "old"
        assert call(fails) == "old"
        assert call(slow, 0.01) == "old"
        assert call(slow, 0.01) == "old"
        assert len(begun) == 1
        assert begun != [threading.get_ident()]
        go.set()
        while call(fails) != "new":
            pass
        assert store.computations.stale_served >= 3


def test_typed_views_have_every_method_of_typed_stores(store):
    names = {name for name in dir(TypedStore) if not name.startswith("_")}
    assert names - set(dir(SyncTypedStore)) == set()
    users = store.typed(User, collection="users")
    users.put_many(["ada", "bob"], [User("Ada"), User("Bob")], ttl=60)
    assert users.get("ada") == User("Ada")
    assert users.get_many(["bob", "eve"]) == [User("Bob"), None]
    assert users.keys() == list(users.scan()) == ["ada", "bob"]
    assert dict(users.items(prefix="b")) == {"bob": User("Bob")}
    versioned = users.get_versioned("ada")
    assert users.compare_and_put("ada", User("Eve"), versioned.version)
    assert users.require("ada") == User("Eve")
    assert users.get_or_put("new", lambda: User("New"), ttl=lambda user: 10) == User("New")
    assert 9 < users.ttl("new")[1] <= 10
    assert users.count() == 3
    assert users.pop("new") == User("New")
    assert users.delete_many(["ada", "z"]) == 1
    with pytest.raises(InvalidValue):
        users.put("x", {"name": "no instance"})
    store.put("odd", 1, collection="users")
    with pytest.raises(InvalidValue):
        list(users.items())
    lenient = store.typed(User, collection="users", on_invalid="ignore")
    assert dict(lenient.items()) == {"bob": User("Bob")}
    assert lenient.get_or_put("odd", lambda: User("Odd")) == User("Odd")
    assert repr(users).startswith("sync(<User in 'users' of ")


def test_models_are_converted_on_the_callers_thread(store):
    threads = set()

    @dataclass
    class Noting:
        number: int

        def __post_init__(self):
            threads.add(threading.get_ident())

    noting = store.typed(Noting)
    noting.put("a", Noting(1))
    assert noting.get("a") == Noting(1)
    assert noting.get_or_put("b", lambda: Noting(2)) == Noting(2)
    assert threads == {threading.get_ident()}
