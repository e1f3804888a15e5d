"""FileTreeStore: the names of its folders and files, on every file system."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import FileTreeStore
from kvwrap.stores.file_tree.places import NAMES, folder_of, is_folder_name, place_of
from kvwrap.testing.contract.names import NAMES as HARD_NAMES

DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
HOSTILE = (
    *HARD_NAMES,
    "../../etc/passwd",
    "/etc/passwd",
    "a/../b",
    "C:\\x",
    "con",
    "CON",
    "nul.txt",
    "com1.tar.gz",
    "lpt9",
    "aux.",
    ".hidden",
    ".kvwrap",
    "_default",
    "%5fdefaul%74",
    "trailing.",
    "trailing ",
    "progra~1",
    "a:stream",
    "%41",
    "%2541",
    "%%",
    "K",
    "\u212a",
    "\ufb01",
    "fi",
    "\u0130",
    "i\u0307",
    "\u017f",
    "s",
    "x" * 255,
    "x" * 256,
    "X" * 85,
    "X" * 86,
)

names = (
    st.text(min_size=1, max_size=300)
    | st.sampled_from(HOSTILE)
    | st.lists(st.sampled_from([".", "..", "/", "%", "A", "a", "con", "é", "\0"]), min_size=1).map(
        "".join
    )
)


def fold(name: str) -> set[str]:
    """Return what file systems may make of a name."""
    return {
        unicodedata.normalize(form, unicodedata.normalize(form, name).casefold())
        for form in ("NFC", "NFD", "NFKC", "NFKD")
    }


@given(names, names)
def test_names_stay_different_where_case_is_ignored_or_unicode_normalised(
    one: str, other: str
) -> None:
    for encode in (folder_of, NAMES.encode):
        assert (fold(encode(one)) & fold(encode(other)) != set()) == (one == other)


def test_hostile_names_stay_different() -> None:
    for encode in (folder_of, NAMES.encode):
        encoded = {form for name in HOSTILE for form in fold(encode(name))}
        assert len(encoded) == len(set(HOSTILE))


@given(names)
def test_a_name_is_one_harmless_name_for_the_system(name: str) -> None:
    for encoded in (folder_of(name), place_of(None, name).file):
        assert re.fullmatch(r"[a-z0-9%@+=,_-][a-z0-9%@+=,._-]*", encoded)
        assert len(encoded) <= 255
        assert not encoded.endswith(".")
        assert not DEVICES.fullmatch(encoded)
        assert encoded not in {"_default", ".kvwrap", ".", ".."}
        assert NAMES.is_hashed(encoded) or NAMES.decode(encoded) == name


@given(names)
def test_the_default_collection_has_a_folder_of_its_own(name: str) -> None:
    assert folder_of(None) != folder_of(name)
    assert is_folder_name(folder_of(None))
    assert is_folder_name(folder_of(name))


@pytest.mark.parametrize(
    "name", ["Ada", "ADA", "a~", ".ada.swp", "#ada#", "Thumbs.db", "é", "%41x"]
)
def test_files_of_editors_and_systems_are_not_those_of_keys(name: str) -> None:
    assert not is_folder_name(name) or NAMES.decode(name) is not None
    if name != "%41x":
        assert not is_folder_name(name)


async def test_hostile_names_work_and_stay_inside(folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.write_text("mine")
    long = [letter * 1024 for letter in ("a", "B", "é", "/", ".", "%", "\0")]
    every = sorted({*HOSTILE, *long, "../outside"})
    async with FileTreeStore(folder, durability="off") as store:
        await store.put_many(every, every, collection="../outside")
        for name in every:
            await store.put("k", name, collection=name)
            assert await store.get("k", collection=name) == name
        assert await store.get_many(every, collection="../outside") == every
        assert await store.keys("../outside") == sorted([*every, "k"])
        assert await store.collections() == every
        assert await store.delete_many(every, collection="../outside") == len(every)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["outside", "tree"]
    assert outside.read_text() == "mine"


async def test_plain_names_stay_as_they_are(folder: Path) -> None:
    async with FileTreeStore(folder, durability="off") as store:
        await store.put("ada@example.com", 1, collection="users")
        await store.put("config.json", 1)
        await store.put("User:7", 1)
    assert (folder / "users" / "ada@example.com").is_file()
    assert sorted(path.name for path in (folder / "_default").iterdir()) == [
        "%55ser%3a7",
        "config.json",
    ]
