"""The subjects of keys, and the names that they stand for."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from kvwrap.stores.nats.subjects import Subjects

SUBJECTS = Subjects("bucket")
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=400)


def subject_of(collection: str | None, key: str) -> str:
    return SUBJECTS.of_keys(collection, [key])[0]


@given(st.none() | NAMES, NAMES, st.binary(max_size=20))
def test_names_come_back_from_subjects_that_nats_allows(
    collection: str | None, key: str, data: bytes
) -> None:
    subject = subject_of(collection, key)
    assert re.fullmatch(r"\$KV\.bucket\.[-/_=a-zA-Z0-9]+\.[-/_=a-zA-Z0-9]+", subject)
    assert len(subject) < 2200
    framed = SUBJECTS.frame(subject, collection, key, data)
    assert SUBJECTS.parse(subject, framed) == (collection, key, data)


def test_the_default_collection_has_a_token_of_its_own() -> None:
    assert subject_of(None, "a") == "$KV.bucket._.a"
    assert subject_of("_", "a") == "$KV.bucket.=5f.a"
    assert subject_of("=5f", "a") != subject_of("_", "a")


def test_long_names_are_hashed_and_kept_with_the_value() -> None:
    collection, key = "ü" * 512, "k" * 5000
    subject = subject_of(collection, key)
    assert subject != subject_of(collection, key + "k")
    framed = SUBJECTS.frame(subject, collection, key, b"data")
    assert SUBJECTS.parse(subject, framed) == (collection, key, b"data")
    for damaged in (b"", framed[:3], framed[:-4][:600], b"\xff" * 50):
        assert SUBJECTS.parse(subject, damaged) is None
    other = SUBJECTS.frame(subject, collection, "another key", b"data")
    assert SUBJECTS.parse(subject, other) is None


def test_subjects_of_other_programs_have_no_names() -> None:
    for subject in ("$KV.bucket.users", "$KV.bucket.=zz.a", "$KV.bucket.a.b.c", "$KV.bucket.a."):
        assert SUBJECTS.parse(subject, b"data") is None
