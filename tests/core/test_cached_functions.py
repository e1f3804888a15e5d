"""Keys and kinds of cached functions: closures, partials, decorators, methods."""

from __future__ import annotations

import asyncio
import enum
import functools
import inspect
import math
import sys
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import pytest

import kvwrap
from kvwrap import ConfigurationError, InvalidKey, MemoryStore
from kvwrap.core.function_keys import FunctionKey

STORE = MemoryStore()


class Permission(enum.IntFlag):
    READ = 1
    WRITE = 2


class Shape(enum.StrEnum):
    ROUND = "round"
    ALSO_ROUND = "round"


@pytest.fixture
def store():
    return MemoryStore()


def loader_for(store, tenant):
    @store.cached()
    async def load(name):
        return f"{tenant}:{name}"

    return load


async def test_functions_of_one_factory_do_not_share(store):
    one, two, same = (loader_for(store, tenant) for tenant in ("a", "b", "a"))
    assert await one("x") == "a:x"
    assert await two("x") == "b:x"
    assert one.key("x") == same.key("x") != two.key("x")
    assert "tenant='a'" in one.key("x")


@pytest.mark.parametrize("value", [[1], {"a": 1}, {1}, object(), asyncio.Lock(), bytearray(b"1")])
def test_a_closure_that_cannot_be_part_of_a_key_is_refused(store, value):
    held = value
    with pytest.raises(ConfigurationError, match=r"'held' around .*load is an? \w+.*key="):

        @store.cached()
        async def load(name):
            return held

    @store.cached(key=str)
    async def allowed(name):
        return held

    assert allowed.key("a") == "a"


def test_a_variable_that_is_assigned_later_is_checked_when_it_is_called(store):
    @store.cached()
    async def load(name):
        return later

    later = 5
    assert "later=5" in load.key("x")
    later = object()
    with pytest.raises(InvalidKey, match="later"):
        load.key("x")


async def test_a_variable_that_the_function_assigns_counts_with_its_first_value(store):
    def make(start):
        @store.cached()
        async def count(name):
            nonlocal start
            start += 1
            return start

        return count

    one, other = make(1), make(5)
    assert await one("x") == 2
    assert await one("x") == 2
    assert await one("y") == 3
    assert await other("x") == 6


async def test_functions_and_modules_in_closures(store):
    def make(helper, module):
        @store.cached()
        async def load(name):
            return helper(name), module

        return load

    def helper_with(text):
        def helper(name):
            return text + name

        return helper

    keys = [
        make(*held).key("x")
        for held in (
            (helper_with("a"), math),
            (helper_with("b"), math),
            (helper_with("b"), inspect),
            (functools.partial(helper_with("b"), 1), math),
            (functools.partial(helper_with("b"), 2), math),
            (loader_for(store, "a"), math),
            (loader_for(store, "b"), math),
            (str, math),
        )
    ]
    assert len(set(keys)) == len(keys)
    with pytest.raises(ConfigurationError):
        make(helper_with([]), math)


async def test_a_function_that_calls_itself(store):
    @store.cached()
    async def factorial(number):
        return number * await factorial(number - 1) if number > 1 else 1

    assert await factorial(5) == 120
    assert store.computations.computed == 5


def test_closures_that_hold_each_other():
    def one():
        return two

    def two():
        return one

    assert FunctionKey(one)().count("one") >= 1


async def test_bound_arguments_of_partials_are_part_of_the_key(store):
    async def add(one, two, *, three=0):
        return one + two + three

    of_one = store.cached()(functools.partial(add, 1))
    of_two = store.cached()(functools.partial(add, 2))
    nested = store.cached()(functools.partial(functools.partial(add, 1), three=5))
    assert [await of_one(1), await of_two(1), await nested(1)] == [2, 3, 7]
    assert of_one.key(1) == store.cached()(add).key(1, 1)
    assert await of_one.invalidate(1)
    assert len({of_one.key(1), of_two.key(1), nested.key(1)}) == 3


def test_flags_enums_and_ordered_mappings(store):
    @store.cached()
    async def load(value): ...

    different = [
        *(Permission(bits) for bits in (0, 1, 2, 3, 8, 16)),
        OrderedDict(a=1, b=2),
        OrderedDict(b=2, a=1),
        {"a": 1, "b": 2},
        Shape.ROUND,
        "round",
        Permission,
        Shape,
    ]
    assert len({load.key(value) for value in different}) == len(different)
    assert load.key({"a": 1, "b": 2}) == load.key({"b": 2, "a": 1})
    assert load.key(Shape.ROUND) == load.key(Shape.ALSO_ROUND)

    class Local: ...

    with pytest.raises(InvalidKey):
        load.key(Local)


def in_thread(function):
    @functools.wraps(function)
    async def call(*args):
        return await asyncio.to_thread(function, *args)

    return call


def with_session(session):
    def decorate(function):
        @functools.wraps(function)
        async def call(*args, **kwargs):
            return await function(session, *args, **kwargs)

        return call

    return decorate


async def test_functions_wrapped_by_other_decorators(store):
    @store.cached()
    @in_thread
    def square(number):
        return number * number

    assert await square(3) == await square(3) == 9

    def loader(session):
        @store.cached()
        @with_session(session)
        async def load(session, number=1, other=2):
            return f"{number} {other} by {session}"

        return load

    one, two = loader("one"), loader("two")
    assert await one(7) == "7 2 by one"
    assert await one(7, 8) == "7 8 by one"
    assert await one() == "1 2 by one"
    assert await two(7) == "7 2 by two"


def test_what_is_not_async_or_has_no_name_is_refused(store):
    class Callable:
        async def __call__(self): ...

    for wrong in (len, Callable(), 3, staticmethod(len)):
        with pytest.raises(ConfigurationError):
            store.cached()(wrong)


@dataclass(frozen=True)
class User:
    name: str

    @STORE.cached()
    async def post(self, number, *, long=False):
        """Return a post."""
        return f"{self.name} {number} {long}"

    @STORE.cached()
    @classmethod
    async def of_class(cls, number):
        return f"{cls.__name__} {number}"

    @classmethod
    @STORE.cached()
    async def of_class_too(cls, number):
        return f"{cls.__name__} {number}"

    @STORE.cached()
    @staticmethod
    async def alone(number):
        return number

    @staticmethod
    @STORE.cached()
    async def alone_too(number):
        return number


class Admin(User):
    pass


async def test_methods():
    ada, bob = User("ada"), User("bob")
    assert await ada.post(1) == "ada 1 False"
    assert await bob.post(1, long=True) == "bob 1 True"
    assert await User.post(ada, 1) == "ada 1 False"
    assert ada.post.key(1) == User.post.key(ada, 1) == User("ada").post.key(number=1)
    assert ada.post.key(1) != bob.post.key(1)
    assert ada.post.key(1) != Admin("ada").post.key(1)
    assert await ada.post.invalidate(1)
    assert not await ada.post.invalidate(1)
    assert not await User.post.invalidate(ada, 1)
    assert await bob.post.invalidate(1, long=True)
    assert inspect.iscoroutinefunction(ada.post)
    assert User.post.__doc__ == ada.post.__doc__ == "Return a post."
    assert next(iter(inspect.signature(User.post).parameters)) == "self"


@pytest.mark.parametrize("name", ["of_class", "of_class_too"])
async def test_class_methods(name):
    method = getattr(User, name)
    assert await method(1) == await getattr(User("ada"), name)(1) == "User 1"
    assert await getattr(Admin, name)(1) == "Admin 1"
    if name == "of_class_too" and sys.version_info >= (3, 13):
        # A classmethod outside does not bind what is inside.
        assert method.key(User, 1) != method.key(Admin, 1)
        assert await method.invalidate(User, 1)
        assert await method.invalidate(Admin, number=1)
        return
    assert method.key(1) != getattr(Admin, name).key(1)
    assert await method.invalidate(1)
    assert await getattr(Admin, name).invalidate(number=1)


@pytest.mark.parametrize("name", ["alone", "alone_too"])
async def test_static_methods(name):
    method = getattr(User, name)
    assert await method(1) == await getattr(User("ada"), name)(1) == 1
    assert method.key(1) == getattr(User("bob"), name).key(1)
    assert await method.invalidate(1)


async def test_a_method_with_a_key_of_the_users(store):
    class Source:
        def __init__(self, name):
            self.name = name

        @store.cached(key=lambda self, number: f"{self.name}-{number}")
        async def line(self, number):
            return f"{self.name} {number}"

    source = Source("a")
    assert await source.line(1) == "a 1"
    assert source.line.key(1) == "a-1"
    assert await store.keys() == ["a-1"]
    assert await source.line.invalidate(1)


def test_functions_without_a_name_of_their_own_need_a_key():
    with kvwrap.sync(MemoryStore()) as store:

        def _(number):
            return number

        for function in (lambda number: number, _, functools.partial(lambda number: number, 1)):
            with pytest.raises(ConfigurationError, match="cached lambda needs `key=`"):
                store.cached()(function)
        assert store.cached(key=str)(lambda number: number + 1)(7) == 8
        assert store.keys() == ["7"]
        double = lambda number: 2 * number  # noqa: E731

        with pytest.raises(ConfigurationError, match="in the closure"):

            @store.cached()
            def load(number):
                return double(number)


def test_mistakes_in_a_decoration_are_told_the_way_out(store):
    async def is_async(value):
        return value

    for options in ({"key": is_async}, {"ttl": is_async}, {"keep": is_async}):
        with pytest.raises(ConfigurationError, match=r"must not be async; got .*is_async"):
            store.cached(**options)
    with kvwrap.sync(MemoryStore()) as view:
        for owner in (store, view):
            with pytest.raises(
                TypeError, match=r"keyword arguments: write @store.cached\(ttl=60\)"
            ):
                owner.cached(60)
            with pytest.raises(TypeError, match="parentheses"):
                owner.cached(staticmethod(is_async))
        with pytest.raises(ConfigurationError, match=r"arguments of builtins\.max are not known"):
            view.cached()(max)
        for given, way_out in ((5, "got int: use `put`"), (is_async(1), "got coroutine: pass the")):
            with pytest.raises(ConfigurationError, match=f"`factory` must be a .*; {way_out}"):
                view.get_or_put("k", given)

        @view.cached()
        @functools.lru_cache
        def double(number):
            return 2 * number

        assert (double(2), double(number=2)) == (4, 4)
        assert view.count() == 1
        with pytest.raises(TypeError, match=r"double\(\): missing a required argument: 'number'"):
            double()


async def test_a_factory_that_is_no_function(store):
    for given, way_out in (
        (5, "got int: use `put`"),
        (asyncio.sleep(0), "got coroutine: pass the"),
    ):
        with pytest.raises(ConfigurationError, match=f"`factory` must be a function; {way_out}"):
            await store.get_or_put("k", given)


async def test_defaults_of_functions_in_closures_are_part_of_the_key(store):
    def adding(amount):
        def add(x, amount=amount):
            return x + amount

        @store.cached()
        async def call(x):
            return add(x)

        return call

    assert await adding(1)(10) == 11
    assert await adding(5)(10) == 15


async def test_times_of_different_zones_and_long_integers(store):
    @store.cached()
    async def call(value):
        return str(value)

    zones = [UTC, timezone(timedelta(), "London"), None]
    times = [datetime(2020, 1, 1, tzinfo=zone) for zone in zones]
    assert len({call.key(time) for time in times}) == 3
    assert call.key(10**6_000) != call.key(10**6_000 + 1)


def test_instances_of_local_classes_are_refused(store):
    @store.cached()
    async def call(value):
        return value

    @dataclass
    class Local:
        x: int

    with pytest.raises(InvalidKey, match="defined in a function"):
        call.key(Local(1))
    with pytest.raises(InvalidKey, match="defined in a function"):
        call.key(enum.Enum("Color", "RED", qualname="f.<locals>.Color").RED)
