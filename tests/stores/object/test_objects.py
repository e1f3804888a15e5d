"""The objects of entries: paths that all services take, and contents that tell whether they end."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import CorruptEntry
from kvwrap.core.entry import Entry
from kvwrap.stores.object.objects import Objects

OBJECTS = Objects("pre/fix", "ObjectStore")
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=400)
PART = re.compile(r"[A-Za-z0-9_.:@=-]*[A-Za-z0-9_:@=-]")


@given(st.none() | NAMES, NAMES, st.binary(max_size=20), st.none() | st.floats(1, 1e10))
def test_names_and_entries_come_back(
    collection: str | None, key: str, body: bytes, expires_at: float | None
) -> None:
    path = OBJECTS.path(OBJECTS.folder(collection), key)
    assert len(path) <= 1024 - 256
    assert all(PART.fullmatch(part) and not part.startswith("..") for part in path.split("/")[:-1])
    assert PART.fullmatch(path.rpartition("/")[2])
    entry = Entry(body, b"\x04", 1.0, expires_at, 7)
    content = OBJECTS.pack(collection, key, entry)
    listed = OBJECTS.listed(path, len(content))
    assert listed is not None
    assert listed.may_expire is (expires_at is not None)
    assert listed.is_hashed is OBJECTS.is_hashed(path)
    assert listed.names in (None, (collection, key))
    assert OBJECTS.names(listed, content) == (collection, key)
    assert OBJECTS.entry(collection, key, content).body == body
    assert OBJECTS.head(path, content if listed.is_hashed else content[:64]).version == 7


@given(NAMES, NAMES)
def test_the_paths_of_keys_begin_as_those_of_their_prefixes(prefix: str, rest: str) -> None:
    folder = OBJECTS.folder("c")
    assert OBJECTS.path(folder, prefix + rest).startswith(OBJECTS.paths_begin(folder, prefix))


def test_different_names_have_different_paths() -> None:
    names = ["_", "=5f", ".", "..", "=2e", "a.", "a", "a.kv", "k" * 1000, "k" * 1001, "ü", "=c3=bc"]
    paths = {OBJECTS.path(OBJECTS.folder(name), "k") for name in (None, *names)}
    paths |= {OBJECTS.path(OBJECTS.folder(None), name) for name in names}
    assert len(paths) == 2 * len(names) + 1


@pytest.mark.parametrize(
    "path",
    [
        "pre/fix/a.kv",
        "pre/fix/c/a",
        "pre/fix/c/d/a.kv",
        "pre/fixc/a.kv",
        "pre/fix/=zz/a.kv",
        "pre/fix/c/.kv",
        "pre/fix//a.kv",
        "pre/fix/c/a b.kv",
        "pre/fix/c/=zz.kv",
    ],
)
def test_objects_of_other_programs_are_known_by_their_paths(path: str) -> None:
    assert OBJECTS.listed(path, 2) is None


def test_contents_of_another_form_are_errors() -> None:
    key = "k" * 1000
    path = OBJECTS.path(OBJECTS.folder(None), key)
    listed = OBJECTS.listed(path, 2)
    assert listed is not None
    whole = OBJECTS.pack(None, key, Entry(b"x", b"\x04", 1.0, None, 7))
    for content in (b"", b"\x01", b"\x02", b"\x03" + whole[1:], whole[:50]):
        with pytest.raises(CorruptEntry):
            OBJECTS.names(listed, content)
        assert OBJECTS.head(path, content).version is None
        assert OBJECTS.head(path, content).is_live(1e15)
