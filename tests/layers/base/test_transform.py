"""The base of layers that change bytes: its defaults, and what is in its current form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kvwrap import MemoryStore
from kvwrap.core.codec import JSON, OTHER_STEP, fingerprint, step
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection
from kvwrap.layers.base import Transform
from tests.layers.faulty import FaultyStore

STEP = step(OTHER_STEP, fingerprint("reversed"))


def entry(body: bytes, codec: bytes = JSON) -> Entry:
    return Entry(body, codec, 1.0, None, 7)


class Reversing(Transform):
    """Reverses bodies of more than three bytes."""

    def encode(self, entry: Entry, collection: Collection, key: str) -> Entry:
        if len(entry.body) <= 3:
            return entry
        return entry.with_body(entry.body[::-1], STEP + entry.codec)

    def decode(self, entry: Entry, collection: Collection, key: str) -> Entry | None:
        if not entry.codec.startswith(STEP):
            return entry
        return entry.with_body(entry.body[::-1], entry.codec[len(STEP) :])


async def test_what_a_layer_does_not_implement_leaves_entries_unchanged() -> None:
    class OnlyDecodes(Transform):
        decode = Reversing.decode

    class OnlyEncodes(Transform):
        encode = Reversing.encode

    backend = MemoryStore()
    await Reversing().over(backend).put("old", "long enough")
    reading = OnlyDecodes().over(backend)
    await reading.put("new", "long enough")
    assert await reading.get_many(["old", "new", "none"]) == ["long enough", "long enough", None]
    assert await backend.get("new") == "long enough"
    writing = OnlyEncodes().over(backend)
    await writing.put("new", "long enough")
    assert await Reversing().over(backend).get("new") == "long enough"
    assert await writing.read(None, ["new"]) == await backend.read(None, ["new"])


async def test_it_prepares_for_the_whole_batch_after_reading_and_before_writing(
    backend: FaultyStore,
) -> None:
    done: list[object] = []

    class Preparing(Reversing):
        async def prepare_encode(self, collection: Collection) -> None:
            done.append(("encode", collection, backend.count("write")))

        async def prepare_decode(
            self, collection: Collection, entries: Iterable[Entry | None]
        ) -> None:
            found = [entry is not None for entry in entries]
            done.append(("decode", collection, found, backend.count("read")))

    store = Preparing().over(backend)
    await store.put_many(["a", "b"], [1, 2], collection="c")
    assert await store.get_many(["a", "none", "b"], collection="c") == [1, None, 2]
    assert done == [("encode", "c", 0), ("decode", "c", [True, False, True], 1)]


async def test_one_entry_for_which_it_is_prepared_is_not_prepared_for() -> None:
    prepared: list[bytes] = []

    class Preparing(Reversing):
        async def prepare_decode(
            self, collection: Collection, entries: Iterable[Entry | None]
        ) -> None:
            prepared.extend(entry.body for entry in entries if entry is not None)

        def is_prepared(self, entry: Entry) -> bool:
            return len(entry.body) < 5

    store = Preparing().over(MemoryStore())
    await store.put_many(["short", "long"], [123, 12345])
    assert [await store.get(key) for key in ("short", "long", "none")] == [123, 12345, None]
    assert prepared == [b"54321"]


def test_an_entry_is_current_if_it_would_be_encoded_in_the_same_way() -> None:
    class Named(Reversing):
        def encode(self, entry: Entry, collection: Collection, key: str) -> Entry:
            assert (collection, key) == ("c", "k")
            return super().encode(entry, collection, key)

    layer = Named()
    cases: Sequence[tuple[Entry, Entry, bool]] = [
        (entry(b"4321", STEP + JSON), entry(b"1234"), True),
        (entry(b"1234"), entry(b"1234"), False),
        (entry(b"321", STEP + JSON), entry(b"123"), False),
        (entry(b"123"), entry(b"123"), True),
        # Decoded from a form that no codec records.
        (entry(b"{foreign: 123}"), entry(b"123"), False),
    ]
    for stored, plain, is_current in cases:
        assert layer.is_current(stored, plain, "c", "k") == is_current
