"""Versions as signed integers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvwrap.stores.shared.versions import all_to_signed, to_signed


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_a_batch_of_versions_is_converted_like_each(versions: list[int]) -> None:
    signed = all_to_signed(versions)
    assert signed == list(map(to_signed, versions))
    assert [version % 2**64 for version in signed] == versions


def test_what_is_no_version_equals_nothing() -> None:
    assert to_signed(-1) is to_signed(2**64) is None
    assert to_signed(2**63) == -(2**63)
