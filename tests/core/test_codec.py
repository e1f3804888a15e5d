from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap.core import codec

plain_steps = (
    st.integers(0, 255)
    .filter(lambda tag: tag != codec.ANNOTATION)
    .flatmap(
        lambda tag: st.binary(min_size=tag >> 5, max_size=tag >> 5).map(
            lambda argument: codec.step(tag, argument)
        )
    )
)
annotations = st.builds(codec.annotation, st.integers(0, 255), st.binary(max_size=254))
steps = st.one_of(plain_steps, annotations)


@given(st.lists(steps, max_size=8))
def test_steps_are_separated_even_when_unknown(run: list[bytes]) -> None:
    assert codec.steps(b"".join(run)) == run
    assert codec.first_step(b"".join(run)) == (run[0] if run else b"")


@given(st.binary(max_size=40))
def test_any_bytes_can_be_described_and_split_into_steps(data: bytes) -> None:
    assert b"".join(codec.steps(data)) == data
    assert codec.describe(data)


@pytest.mark.parametrize(
    ("tag", "argument"), [(codec.ENCRYPTED, b""), (0x10, b"x"), (0x98, b"xyz")]
)
def test_a_step_takes_as_many_bytes_as_its_tag_says(tag: int, argument: bytes) -> None:
    with pytest.raises(ValueError, match=r"argument of step .* must have \d bytes; got"):
        codec.step(tag, argument)


def test_names_of_steps_in_an_error() -> None:
    run = codec.step(codec.ENCRYPTED, b"\x00\x01\x02\x03") + codec.ZSTD + codec.JSON
    assert codec.describe(run) == "encryption with key id 00010203 over zstd over JSON"
    assert codec.describe(b"") == "nothing"
    steps = (codec.MSGPACK, codec.PICKLE, codec.BYTES, codec.GZIP, codec.LZ4, codec.BROTLI)
    names = "MessagePack over a pickle over bytes over gzip over lz4 over brotli"
    assert codec.describe(b"".join(steps)) == names
    trained = codec.step(codec.ZSTD_DICTIONARY, b"\xab\xcd\xef\x01")
    assert codec.describe(trained) == "zstd with dictionary abcdef01"
    unknown = codec.step(codec.OTHER_STEP, b"\x00\x01\x02\x03")
    assert codec.describe(unknown + b"\x0a") == "step 0x9f 00010203 over step 0x0a"


def test_the_bytes_that_stand_for_steps_never_change() -> None:
    """Stored entries have them."""
    assert (codec.JSON, codec.MSGPACK, codec.PICKLE, codec.BYTES) == (b"\1", b"\2", b"\3", b"\4")
    compressions = (codec.ZSTD, codec.GZIP, codec.LZ4, codec.BROTLI)
    assert compressions == (b"\x10", b"\x11", b"\x12", b"\x13")
    others = (codec.OTHER_SERIALIZER, codec.ZSTD_DICTIONARY, codec.ENCRYPTED, codec.OTHER_STEP)
    assert others == (0x8F, 0x90, 0x98, 0x9F)
    kinds = (codec.SEALED_EXPIRY, codec.WRITE_DATE, codec.NEAR_COPY, codec.NEAR_MISS)
    assert kinds == (0x01, 0x02, 0x04, 0x05)
    assert codec.annotation(codec.NEAR_MISS, b"ab") == b"\x3f\x03\x05ab"
    assert codec.fingerprint("kvwrap") == hashlib.sha256(b"kvwrap").digest()[:4]


@given(annotations, st.lists(plain_steps, max_size=4))
def test_an_annotation_is_skipped_by_who_does_not_know_it(front: bytes, run: list[bytes]) -> None:
    plain = b"".join(run)
    assert codec.skip_annotations(front + front + plain) == plain


def test_an_annotation_is_taken_by_its_kind() -> None:
    run = codec.annotation(codec.WRITE_DATE, b"date") + codec.JSON
    assert codec.take_annotation(run, codec.WRITE_DATE) == (b"date", codec.JSON)
    assert codec.take_annotation(run, codec.NEAR_COPY) == (None, run)
    assert codec.take_annotation(codec.JSON, codec.WRITE_DATE) == (None, codec.JSON)
    assert codec.take_annotation(b"", codec.WRITE_DATE) == (None, b"")
    assert codec.describe(run) == "annotation 02 over JSON"
    front = codec.annotation(0x7F, b"other") + codec.annotation(0x55)
    assert codec.take_annotation(front + run, codec.WRITE_DATE) == (b"date", front + codec.JSON)
    assert codec.take_annotation(codec.ZSTD + run, codec.WRITE_DATE) == (None, codec.ZSTD + run)
    assert codec.split_annotations(front + run) == (front + run[:-1], codec.JSON)
    assert codec.split_annotations(codec.ZSTD + run) == (b"", codec.ZSTD + run)


def test_an_annotation_is_found_wherever_it_stands() -> None:
    date = codec.annotation(codec.WRITE_DATE, b"date")
    alike = codec.step(codec.OTHER_STEP, bytes((codec.WRITE_DATE,)) + b"abc")
    other = codec.annotation(0x55, b"other")
    assert codec.find_annotation(other + alike + date + codec.JSON, codec.WRITE_DATE) == b"date"
    assert codec.find_annotation(other + alike + codec.JSON, codec.WRITE_DATE) is None


def test_forms_are_the_same_wherever_annotations_stand() -> None:
    one, two = codec.annotation(0x7F, b"one"), codec.annotation(0x7F, b"two")
    assert codec.same_form(one + codec.ZSTD + codec.JSON, codec.ZSTD + one + codec.JSON)
    assert not codec.same_form(one + codec.ZSTD + codec.JSON, codec.ZSTD + two + codec.JSON)
    assert not codec.same_form(codec.ZSTD + codec.GZIP, codec.GZIP + codec.ZSTD)


def test_the_body_of_a_serializer_alone_is_bare() -> None:
    other = codec.step(codec.OTHER_SERIALIZER, b"\x00\x01\x02\x03")
    for run in (b"", codec.JSON, codec.BYTES, b"\x0f", other):
        assert codec.is_bare(run)
    dated = codec.annotation(codec.WRITE_DATE)
    for run in (codec.ZSTD, codec.JSON + codec.JSON, other + codec.JSON, codec.ZSTD + other, dated):
        assert not codec.is_bare(run)
