"""Layers over stores, and over stores that have layers."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from kvwrap import (
    ConfigurationError,
    InvalidValue,
    MemoryStore,
    NullStore,
    Passthrough,
    PrefixCollection,
    StackWarning,
    Store,
    TTLClamp,
    UnsupportedOperation,
    stack,
)
from kvwrap.core.findings import Finding
from kvwrap.core.layer import Layer
from kvwrap.core.primitives import Collection
from kvwrap.testing import ManualClock


class Counting(Passthrough):
    """Counts the keys that are read through it."""

    def __init__(self, title: str = "") -> None:
        self.title = title
        self.count = 0

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Any]:
        self.count += len(keys)
        return await self.inner.read(collection, keys)


class Near(Passthrough):
    def __init__(self, *sources: Any) -> None:
        self.sources = sources

    def on_bind(self) -> None:
        for number, source in enumerate(self.sources):
            self.second(f"near {number}", source)


class Objecting(Passthrough):
    """A layer that reports a mistake in its position."""

    def __init__(self, code: str, *, fatal: bool = False) -> None:
        self.code, self.fatal = code, fatal

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        around = f"{len(above)} above, {len(below)} below, over {base.name}."
        yield Finding(self.code, around, "Do otherwise.", fatal=self.fatal)


async def test_layers_apply_outermost_first() -> None:
    base = MemoryStore()
    store = stack(PrefixCollection("outer-"), PrefixCollection("inner-")).over(base)
    await store.put("key", 1, collection="name")
    assert await base.collections() == ["inner-outer-name"]
    assert await store.collections() == ["name"]


async def test_a_layer_over_a_layered_store_shares_the_layers_under_it() -> None:
    base = MemoryStore()
    under = Counting("under").over(base)
    await under.get("key")
    over = stack(Counting("over")).over(under)
    await over.get("key")
    assert [layer.count for layer in over.layers if isinstance(layer, Counting)] == [1, 2]
    assert under.find(Counting).count == 2
    assert over.find(Counting).title == "over"
    assert over.layers[1] is under.layers[0]
    assert over.base is base


async def test_one_stack_over_two_stores_has_two_states() -> None:
    layers = stack(Counting())
    one, two = layers.over(MemoryStore()), layers.over(MemoryStore())
    await one.get_many(["a", "b"])
    assert (one.find(Counting).count, two.find(Counting).count) == (2, 0)
    description = layers.layers[0]
    assert isinstance(description, Counting)
    assert description.count == 0


def test_stacks_join_and_never_change() -> None:
    one, two = stack(Counting("one")).silence("retry-twice"), stack(Counting("two"), Passthrough())
    joined = one + two
    assert [repr(layer) for layer in joined] == [
        *("Counting(title='one')", "Counting(title='two')", "Passthrough()"),
    ]
    assert (len(one), len(two), len(joined)) == (1, 2, 3)
    assert one.layer(Passthrough()) != one
    assert joined == stack(Counting("one"), Counting("two"), Passthrough())
    assert hash(joined) == hash(stack(Counting("one"), Counting("two"), Passthrough()))
    assert joined.silenced == {"retry-twice"}
    assert stack() != 1
    assert repr(stack(Passthrough())) == "stack(Passthrough())"
    with pytest.raises(TypeError):
        _ = one + Passthrough()  # type: ignore[operator]  # is refused
    with pytest.raises(AttributeError):
        one.colour = "red"  # type: ignore[attr-defined]  # is refused


def test_an_unchanged_primitive_goes_straight_to_the_store() -> None:
    base = MemoryStore()
    store = stack(TTLClamp(maximum=60), Counting(), Passthrough()).over(base)
    assert store.list_keys == base.list_keys
    assert store.remove == base.remove
    assert store.read == store.find(Counting).read
    assert store.find(Counting).inner.read == base.read
    assert store.write == store.find(TTLClamp).write


def test_a_method_that_would_never_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="primitives"):

        class Wrong(Passthrough):
            async def get(self, key: str) -> None: ...


async def test_value_hooks_run_outermost_first_and_in_reverse_for_reads() -> None:
    class Marks(Passthrough):
        def __init__(self, mark: str) -> None:
            self.mark = mark

        def on_put(self, value: Any, key: str, collection: Collection) -> Any:
            if value == "bad":
                raise InvalidValue("bad", key=key, collection=collection)
            return value + self.mark

        def on_get(self, value: Any, key: str, collection: Collection) -> Any:
            assert value.endswith(self.mark)
            return value.removesuffix(self.mark)

    base = MemoryStore()
    store = stack(Marks("a"), PrefixCollection("p-"), Marks("b")).over(base)
    await store.put("key", "x", collection="c")
    assert await base.get("key", collection="p-c") == "xab"
    assert await store.get("key", collection="c") == "x"
    assert await store.get_or_put("new", lambda: "y") == "y"
    with pytest.raises(InvalidValue):
        await store.put_many(["one", "two"], ["fine", "bad"])
    assert not await store.exists("one")


# -- second stores -------------------------------------------------------------------------


def test_a_second_store_serves_one_stack_only() -> None:
    near = MemoryStore()
    layers = stack(Near(near))
    layers.over(MemoryStore())
    with pytest.raises(ConfigurationError, match="factory"):
        layers.over(MemoryStore())
    with pytest.raises(ConfigurationError, match="lambda"):
        stack(Near(near)).over(MemoryStore())


def test_a_factory_creates_a_store_for_each_stack() -> None:
    layers = stack(Near(MemoryStore, lambda: NullStore()))
    one, two = layers.over(MemoryStore()), layers.over(MemoryStore())
    stores = {id(store) for part in (*one.layers, *two.layers) for _, store in part.second_stores}
    assert len(stores) == 4


def test_a_refused_stack_releases_its_second_stores() -> None:
    near, other = MemoryStore(), MemoryStore()
    with pytest.raises(ConfigurationError):
        stack(Near(near), Objecting("no", fatal=True)).over(MemoryStore())
    with pytest.raises(ConfigurationError):
        stack(Near(near, other, near)).over(MemoryStore())
    with pytest.raises(ConfigurationError):
        stack(Near(near, object())).over(MemoryStore())
    stack(Near(near, other)).over(MemoryStore())


def test_a_layer_in_a_second_stores_stack_is_found() -> None:
    near = stack(Counting("near")).over(MemoryStore())
    store = stack(Passthrough(), Near(near)).over(MemoryStore())
    assert store.find(Counting).title == "near"
    with pytest.raises(ConfigurationError, match="TTLClamp"):
        store.find(TTLClamp)


# -- findings ------------------------------------------------------------------------------


def test_a_finding_is_reported_as_a_warning_and_in_explain() -> None:
    with pytest.warns(StackWarning, match=r"^bad-place: 1 above, 2 below, over MemoryStore\. Do"):
        store = stack(Passthrough(), Objecting("bad-place"), Passthrough(), Passthrough()).over(
            MemoryStore()
        )
    assert [finding.code for finding in store.findings] == ["bad-place"]
    text = store.explain()
    assert "! bad-place: 1 above, 2 below, over MemoryStore." in text
    assert "Do otherwise." in text


def test_the_warning_points_at_the_line_that_built_the_stack() -> None:
    with pytest.warns(StackWarning) as caught:
        stack(Objecting("bad-place")).over(MemoryStore())
    assert caught[0].filename == __file__


def test_the_warning_points_there_through_any_number_of_frames_of_the_package() -> None:
    code = "def build(layers, base, frames):\n return layers.over(base) if frames == 0 else "
    namespace: dict[str, Any] = {"__name__": "kvwrap.more"}
    exec(compile(code + "build(layers, base, frames - 1)", "more.py", "exec"), namespace)
    for frames in (0, 1, 5):
        with pytest.warns(StackWarning) as caught:
            namespace["build"](Objecting("bad-place"), MemoryStore(), frames)
        assert caught[0].filename == __file__
    namespace["__name__"] = "kvwrap_of_somebody"
    with pytest.warns(StackWarning) as caught:
        namespace["build"](stack(Objecting("bad-place")), MemoryStore(), 2)
    assert caught[0].filename == "more.py"


def test_a_finding_can_be_silenced_by_its_code() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = stack(Objecting("one"), Objecting("two")).silence("one", "two").over(MemoryStore())
    assert store.findings == ()
    assert "!" not in store.explain()
    with pytest.warns(StackWarning, match="two"):
        store = stack(Objecting("one"), Objecting("two")).silence("one").over(MemoryStore())
    assert [finding.code for finding in store.findings] == ["two"]


def test_a_fatal_finding_refuses_the_stack_and_cannot_be_silenced() -> None:
    layers = stack(Objecting("never", fatal=True)).silence("never")
    with pytest.raises(ConfigurationError, match=r"never: 0 above.*Do otherwise") as raised:
        layers.over(MemoryStore())
    assert raised.value.store == "Objecting"


def test_a_finding_of_the_stack_under_it_is_not_reported_twice() -> None:
    with pytest.warns(StackWarning, match="under"):
        under = stack(Objecting("under")).over(MemoryStore())
    with pytest.warns(StackWarning) as caught:
        over = stack(Objecting("over")).over(under)
    assert [str(warning.message).partition(":")[0] for warning in caught] == ["over"]
    assert [finding.code for finding in over.findings] == ["over", "under"]


# -- explain -------------------------------------------------------------------------------


def test_the_tree_of_a_nested_stack() -> None:
    class Noting(Near):
        def notes(self) -> Iterable[str]:
            yield "a copy is at most 30 s old"

    near = stack(Counting("near")).over(MemoryStore(max_entries=5))
    store = stack(TTLClamp(maximum=60), Noting(near), PrefixCollection("p-")).over(NullStore())
    assert store.explain().splitlines() == [
        "TTLClamp(maximum=60)",
        "└─ Noting()",
        "   │  · a copy is at most 30 s old",
        "   ├─ near 0: Counting(title='near')",
        "   │  └─ MemoryStore(max_entries=5)",
        "   └─ PrefixCollection(prefix='p-')",
        "      └─ NullStore()",
        "can: " + ", ".join(sorted(store.capabilities)),
    ]


def test_a_store_alone_explains_itself() -> None:
    assert MemoryStore().explain().startswith("MemoryStore()\ncan: collections, compare_and_put")

    class Bare(MemoryStore):
        capabilities = frozenset()

    assert Bare().explain() == "Bare()\ncan: get, put and delete only"


def test_repr_shows_the_chain() -> None:
    store = stack(TTLClamp(maximum=60), Passthrough()).over(MemoryStore())
    assert repr(store) == "TTLClamp(maximum=60) > Passthrough() > MemoryStore()"


# -- capabilities --------------------------------------------------------------------------


async def test_a_store_that_implements_little_says_so() -> None:
    class Little(Store):
        async def read(self, collection: Collection, keys: Sequence[str]) -> list[Any]:
            return [None] * len(keys)

    store = stack(Passthrough()).over(Little())
    assert store.capabilities == frozenset()
    for use in (
        lambda: store.keys(),
        lambda: store.collections(),
        lambda: store.destroy(),
        lambda: store.destroy_collection("x"),
        lambda: store.put("a", 1),
        lambda: store.delete("a"),
    ):
        with pytest.raises(UnsupportedOperation, match="Little cannot"):
            await use()
    await store.cull()
    await store.check()


def test_the_stacks_clock_is_the_backends() -> None:
    clock = ManualClock()
    store = stack(Passthrough()).over(MemoryStore(clock=clock))
    assert store.clock is clock
    assert store.find(Passthrough).clock is clock
