"""Names escaped for a backend: reversible, without collisions, and within its limit."""

from __future__ import annotations

import string
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap.stores.shared.names import NameEncoding, frame, unframe
from kvwrap.testing.contract.names import NAMES

FILES = string.ascii_lowercase + string.digits + "-_. "
DEVICES = {"con", "nul", ".", "..", "a"}

ENCODINGS = {
    "everything": NameEncoding(None, limit=80),
    "nothing": NameEncoding("", limit=80),
    "files": NameEncoding(FILES, limit=80),
    "reserved": NameEncoding(FILES, limit=80, is_reserved=DEVICES.__contains__),
    "another escape": NameEncoding(string.ascii_letters + "=~", limit=64, escape="="),
}

PIECES = st.sampled_from(["%", "%%", "%4", "%41", "%2541", "=", "==", "a", "A", "é", "\0", "con"])
names = (
    st.text(min_size=1, max_size=200)
    | st.lists(PIECES, min_size=1, max_size=60).map("".join)
    | st.sampled_from([*NAMES, *DEVICES, "A", "x" * 80, "x" * 81])
    | st.integers(1, 120).map(lambda number: "ab%é"[number % 4] * number)
)
encodings = st.sampled_from(list(ENCODINGS.values()))


@given(names, encodings)
def test_a_name_is_decoded_or_hashed(name: str, encoding: NameEncoding) -> None:
    encoded = encoding.encode(name)
    assert encoding.decode(encoded) == (None if encoding.is_hashed(encoded) else name)


@given(st.lists(names, max_size=9), encodings)
def test_a_batch_of_names_is_encoded_like_each(several: list[str], encoding: NameEncoding) -> None:
    assert encoding.encode_all(several) == list(map(encoding.encode, several))


@given(st.lists(names, min_size=2, max_size=9, unique=True), encodings)
def test_no_two_names_have_the_same_encoding(several: list[str], encoding: NameEncoding) -> None:
    assert len({encoding.encode(name) for name in several}) == len(several)


@given(names, names)
def test_names_differ_where_case_is_ignored_and_unicode_normalised(one: str, other: str) -> None:
    for title in ("nothing", "files", "reserved"):
        first, second = ENCODINGS[title].encode(one), ENCODINGS[title].encode(other)
        for form in ("NFC", "NFD", "NFKC", "NFKD"):
            same = fold(first, form) == fold(second, form)
            assert same == (one == other), title


def fold(name: str, form: str) -> str:
    return unicodedata.normalize(form, unicodedata.normalize(form, name).casefold())


@given(names)
def test_an_encoding_has_allowed_characters_and_is_within_the_limit(name: str) -> None:
    for title, allowed, limit in (
        ("nothing", "%0123456789abcdef", 80),
        ("files", f"%{FILES}", 80),
        ("reserved", f"%{FILES}", 80),
        ("another escape", f"{string.ascii_letters}=~{string.digits}", 64),
    ):
        encoded = ENCODINGS[title].encode(name)
        assert set(encoded) <= set(allowed)
        assert len(encoded) <= limit
    assert len(ENCODINGS["everything"].encode(name).encode()) <= 80
    assert ENCODINGS["reserved"].encode(name) not in DEVICES


@given(st.text(max_size=120) | names | st.lists(PIECES).map("".join), encodings)
def test_a_text_is_decoded_to_the_name_that_it_encodes_only(
    text: str, encoding: NameEncoding
) -> None:
    name = encoding.decode(text)
    assert name is None or encoding.encode(name) == text


@given(st.lists(names, min_size=2, max_size=9), st.sampled_from(["everything", "nothing"]))
def test_the_order_of_names_is_kept(several: list[str], title: str) -> None:
    encoding = NameEncoding(None if title == "everything" else "", limit=10_000)
    encoded = [encoding.encode(name) for name in several]
    in_order = [encoding.decode(name) for name in sorted(encoded, key=str.encode)]
    assert in_order == sorted(several)


@given(names, st.text(), st.sampled_from(["everything", "nothing"]))
def test_names_with_a_long_common_beginning_keep_it(name: str, more: str, title: str) -> None:
    encoding = ENCODINGS[title]
    start = name * 81
    one, other = encoding.encode(start).encode(), encoding.encode(start + more).encode()
    assert encoding.is_hashed(one.decode())
    assert one[: encoding.kept - 3] == other[: encoding.kept - 3]


def test_names_just_within_the_limit_are_not_hashed() -> None:
    encoding = ENCODINGS["everything"]
    for fits, too_long in (("x" * 80, "x" * 81), ("é" * 40, "é" * 41), ("%" * 26, "%" * 27)):
        assert not encoding.is_hashed(encoding.encode(fits))
        assert encoding.is_hashed(encoding.encode(too_long))


def test_encodings_stay_the_same_for_ever() -> None:
    long = ENCODINGS["files"].encode("User:" + "x" * 1000)
    assert ENCODINGS["files"].encode("User:é 7%") == "%55ser%3a%c3%a9 7%25"
    assert long == f"%55ser%3a{'x' * 29}%%fcd76f001934b46607f43ebc8fad7f752e0260e4"
    assert ENCODINGS["reserved"].encode("con") == "%63o%6e"
    assert ENCODINGS["reserved"].encode("a") == "%61"
    assert ENCODINGS["reserved"].encode("..") == "%2e%2e"


def test_what_no_encoding_can_be_is_refused() -> None:
    for limit, escape in ((63, "%"), (255, "a"), (255, "%%"), (255, "é"), (255, "")):
        with pytest.raises(ValueError, match="`escape` must be"):
            NameEncoding(None, limit=limit, escape=escape)


@given(st.text(), st.binary())
def test_a_name_in_front_of_data_is_read_back(name: str, data: bytes) -> None:
    assert unframe(frame(name, data)) == (name, data)


@given(st.text())
def test_a_truncated_name_is_an_error(name: str) -> None:
    framed = frame(name, b"")
    for end in range(len(framed)):
        with pytest.raises(ValueError, match="expected a name"):
            unframe(framed[:end])


@given(names, st.binary(max_size=20))
def test_a_name_that_is_hashed_is_kept_in_front_of_the_data(name: str, data: bytes) -> None:
    encoding = NameEncoding("abc", limit=64)
    encoded = encoding.encode(name)
    packed = encoding.pack(encoded, name, data)
    assert (packed == data) == (not encoding.is_hashed(encoded))
    assert encoding.unpack(encoded, packed) == (name, data)


def test_what_encodes_no_name_or_has_another_one_is_not_unpacked() -> None:
    encoding = NameEncoding("abc", limit=64)
    encoded = encoding.encode("a" * 100)
    for wrong, data in (("x", b""), ("%zz", b""), (encoded, frame("b", b"")), (encoded, b"")):
        with pytest.raises(ValueError, match="name"):
            encoding.unpack(wrong, data)
