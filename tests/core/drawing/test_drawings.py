"""Drawings: every stack fits, names are harmless, secrets are hidden, findings are marked."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kvwrap
from kvwrap import ConfigurationError, Keyring, MemoryStore, RedisStore, Stack, Store, stack, sync
from kvwrap.builder import LAYERS as BUILDERS
from kvwrap.core.part import Passage, View
from kvwrap.layers.base import Layer
from kvwrap.stores.null import NullStore
from kvwrap.testing import ManualClock
from tests.catalog import LAYERS, STACKS
from tests.core.drawing.measure import SVG, Drawing

VIEWS: tuple[bool | View, ...] = (True, "read", "write", "both")
KEYS = Keyring({"k": b"k" * 32})


def check(store: Store) -> None:
    """Check that nothing of the drawings of a store is outside or over something else."""
    for view in VIEWS:
        faults = list(Drawing(store.explain(svg=view)).faults())
        assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", [*LAYERS, *STACKS])
def test_every_layer_fits(name: str) -> None:
    clock = ManualClock()
    check(({**LAYERS, **STACKS}[name]).make(clock).over(MemoryStore(clock=clock)))


NESTING: dict[str, Callable[[Stack, Callable[[], Store]], Stack]] = {
    "read_through": lambda layers, make: layers.read_through(make, ttl=1),
    "fallback": lambda layers, make: layers.fallback(make),
    "shadow": lambda layers, make: layers.shadow(make),
    "route": lambda layers, make: layers.route({"a": make, "b-*": make}),
    "shard": lambda layers, make: layers.shard(dict.fromkeys("bcde", make), name="a"),
    "replicate": lambda layers, make: layers.replicate([make, make]),
}
OTHERS = sorted(set(LAYERS) - set(NESTING) - {"write_behind"})


@st.composite
def stacks(draw: st.DrawFn, depth: int = 0) -> Callable[[], Store]:
    names = draw(st.lists(st.sampled_from([*OTHERS, *NESTING]), max_size=5 - depth))
    inner = draw(stacks(depth + 1)) if depth < 3 else MemoryStore

    def make() -> Store:
        layers = stack()
        for name in names:
            if name in NESTING:
                layers = NESTING[name](layers, inner)
            else:
                layers += LAYERS[name].make(ManualClock())
        return layers.over(MemoryStore(max_entries=100))

    return make


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stacks())
def test_random_stacks_fit(make: Callable[[], Store]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            store = make()
        except ConfigurationError:
            return
        check(store)


HOSTILE = [
    "<script>alert(1)</script>",
    "]]>&amp;\"'",
    "\x00\x1b[31m\x7f\ud800\ufffe\u202e",
    "line\nbreak\r\ttab",
    "名前" * 40,
    "W" * 300,
    "ǄǱ\ufdfd\U0001f600" * 9,
    "",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_names_of_users_are_harmless(name: str) -> None:
    words = Passage(read=name, write=f"{name}!", names=name, value=name, inner=name)

    class Hostile(Layer):
        """<b>&</b> ]]> \x00\x1b[0m."""

        passage = words

        def __init__(self, argument: str) -> None:
            pass

        @property
        def name(self) -> str:
            return name

        @property
        def summary(self) -> str:
            return name * 2

    store: Store = stack().layer(Hostile(name)).over(MemoryStore())
    if name:
        store = stack().route({name: lambda: Hostile(name).over(MemoryStore())}).over(store)
    check(store)
    for view in VIEWS:
        svg = store.explain(svg=view)
        tags = {shape.tag.removeprefix(SVG) for shape in ElementTree.fromstring(svg).iter()}
        assert tags <= {"svg", "title", "desc", "style", "rect", "text", "path", "circle"}
        assert all(char.isprintable() or char == "\n" for char in svg)


def test_markup_in_a_name_is_shown_as_text() -> None:
    store = stack().prefix_key("<script>&").over(MemoryStore())
    assert "(prefix='<script>&')" in Drawing(store.explain(svg=True)).words


@pytest.mark.parametrize("view", VIEWS)
def test_secrets_are_hidden(view: bool | View) -> None:
    redis = RedisStore("redis://ada:hunter2@localhost:1/0")
    layers = stack().hash_keys("correct horse battery staple, sixteen").fallback(MemoryStore)
    svg = layers.over(redis).explain(svg=view)
    assert "hunter2" not in svg
    assert "horse" not in svg
    assert "***@localhost:1/0" in svg


def test_the_same_stack_has_the_same_drawing() -> None:
    def make() -> Store:
        return stack().validate(lambda value: True).shadow(lambda: MemoryStore()).over(NullStore())

    assert [make().explain(svg=view) for view in VIEWS] == [
        make().explain(svg=view) for view in VIEWS
    ]
    assert " at 0x" not in make().explain(svg=True)


def test_the_text_of_explain_is_the_description() -> None:
    store = stack().statistics().read_through(MemoryStore, ttl=5).over(MemoryStore())
    drawing = Drawing(store.explain(svg="both"))
    assert drawing.root.findtext(f"{SVG}desc") == store.explain()
    title = drawing.root.findtext(f"{SVG}title")
    assert title == (
        "Stack over MemoryStore: Statistics, ReadThrough; what a read and a write do there"
    )
    assert drawing.root.get("role") == "img"


@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
def test_findings_are_marked_at_their_layer_and_told() -> None:
    store = (
        stack()
        .statistics()
        .encrypt(KEYS)
        .compress()
        .fallback(lambda: stack().timeout(1).retry().over(MemoryStore()))
        .over(MemoryStore())
    )
    for view in VIEWS:
        drawing = Drawing(store.explain(svg=view))
        cards = {
            text.kind: next(box for box in drawing.boxes if box.holds(text))
            for text in drawing.texts
            if text.kind in ("Encryption", "Compression", "Timeout")
        }
        marks = [text for text in drawing.texts if text.kind in ("1", "2")]
        marked = [
            (mark.kind, name) for mark in marks for name, box in cards.items() if box.holds(mark)
        ]
        assert sorted(marked) == [("1", "Compression"), ("2", "Timeout")]
        assert len(marks) == 4
        for finding in store.findings:
            assert f"{finding.code}: {finding.message}"[:20] in drawing.words
        assert "timeout-outside-retry: fallback:" in drawing.words


def test_a_silenced_finding_is_not_marked() -> None:
    layers = stack().encrypt(KEYS).compress().silence("compression-inside-encryption")
    svg = layers.over(MemoryStore()).explain(svg=True)
    assert "circle" not in svg


def forms(store: Store, view: View = "both") -> list[str]:
    drawing = Drawing(store.explain(svg=view))
    pills = [box for box in drawing.boxes if box.kind == "pill"][1:]
    return [" ".join(text.kind for text in drawing.texts if pill.holds(text)) for pill in pills]


def test_the_form_of_an_entry_is_told_where_it_changes() -> None:
    store = (stack().statistics().hash_keys(b"s" * 32).compress().encrypt(KEYS).retry()).over(
        MemoryStore()
    )
    for view in VIEWS[1:]:
        assert forms(store, view) == [  # type: ignore[arg-type]  # not the first
            "key: JSON",
            "hashed key: JSON",
            "hashed key: JSON, compressed",
            "hashed key: JSON, compressed, encrypted",
        ]
    packed = stack().serialize("msgpack").prefix_key("a").over(MemoryStore())
    assert forms(packed) == ["key: MessagePack", "prefixed key: MessagePack"]


def test_a_view_tells_what_its_calls_do() -> None:
    store = stack().compress().read_through(MemoryStore, ttl=1).over(MemoryStore())
    words = {view: Drawing(store.explain(svg=view)).words for view in VIEWS}
    assert "A read decompresses" in words["read"]
    assert "A write" not in words["read"]
    assert "A write compresses" in words["write"]
    assert "A read" not in words["write"]
    assert "A read decompresses" in words["both"]
    assert "A write compresses" in words["both"]
    assert "near" in words["both"]
    assert "far" in words["both"]
    assert "your code" not in words[True]


def test_stores_of_a_layer_stand_side_by_side() -> None:
    many = dict.fromkeys("bcdefghi", MemoryStore)
    store = stack().shard(many, name="a").over(MemoryStore())
    drawing = Drawing(store.explain(svg=True))
    cards = [box for box in drawing.boxes if box.kind == "store"]
    assert list(Counter(card.top for card in cards).values()) == [3, 3, 3]
    tiers = stack().read_through(MemoryStore, ttl=1).over(MemoryStore())
    layer, near, far = (box for box in Drawing(tiers.explain(svg=True)).boxes if box.kind != "pill")
    assert layer.right < near.left
    assert layer.bottom < far.top


@pytest.mark.parametrize("name", sorted(set(BUILDERS)))
def test_every_layer_tells_what_calls_do(name: str) -> None:
    passage = BUILDERS[name].passage
    assert passage != Passage()
    assert passage.value or passage.names or passage.read != passage.write


def test_what_a_part_is_comes_from_its_class() -> None:
    class Silent(Layer):
        pass

    store = stack().layer(Silent()).timeout(2).over(MemoryStore())
    words = Drawing(store.explain(svg=True)).words
    assert "Silent Timeout (seconds=2) Cancels an operation that takes too long" in words


@pytest.mark.parametrize("svg", ["", "reads", None, 1, ["read"], "True"])
def test_another_view_is_refused(svg: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"`svg` must be a bool, 'read' or 'write'"):
        MemoryStore().explain(svg=svg)


def test_the_blocking_view_draws_too() -> None:
    store = MemoryStore()
    with sync(store) as view:
        assert view.explain(svg="read") == store.explain(svg="read")


def test_importing_kvwrap_loads_nothing_of_drawings() -> None:
    code = "import sys, kvwrap; kvwrap.MemoryStore().explain(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert "kvwrap.core.explain" in loaded
    assert not {"kvwrap.core.drawing", "xml.etree.ElementTree"} & set(loaded)
    assert kvwrap.MemoryStore().explain(svg=False) == kvwrap.MemoryStore().explain()


def _told(store: Store, view: View) -> str:
    return " ".join(Drawing(store.explain(svg=view)).words.split())


def test_a_near_store_is_said_to_lose_its_copy_by_a_write() -> None:
    store = stack().read_through(MemoryStore(), ttl=5).over(MemoryStore())
    assert _told(store, "write").count("keeps the entry") == 1, "in the far store only"
    assert "deletes the copy" in _told(store, "write")


@pytest.mark.parametrize(
    ("options", "in_layer", "in_store"),
    [
        ({}, "goes to the backend alone", "does not come here"),
        (
            {"writes": "both"},
            "as a copy to the fallback; in an outage it is refused",
            "keeps a copy",
        ),
        ({"writes": "journal", "journal": "x"}, "it waits in the journal", "keeps a copy"),
    ],
)
def test_a_fallback_says_where_writes_go(
    options: dict[str, Any], in_layer: str, in_store: str
) -> None:
    store = stack().fallback(MemoryStore(), **options).over(MemoryStore())
    told = _told(store, "write")
    assert in_layer in told
    assert in_store in told
    assert told.count("keeps the entry") == 1, "in the backend only"
