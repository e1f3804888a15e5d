"""Time to live: valid and invalid arguments, and expiry times."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import InvalidTTL
from kvwrap.core.ttl import LATEST, checked_ttl, expiry
from kvwrap.testing.contract.expiry import INVALID_TTLS


@pytest.mark.parametrize("bad", [*INVALID_TTLS, None], ids=lambda bad: type(bad).__name__)
def test_an_invalid_ttl(bad: object) -> None:
    with pytest.raises(InvalidTTL):
        checked_ttl(bad)
    if bad is not None:
        with pytest.raises(InvalidTTL):
            expiry(0.0, bad)  # type: ignore[arg-type]  # is refused


@given(st.floats() | st.integers() | st.decimals(allow_nan=False))
def test_a_number_is_a_ttl_if_it_is_finite_and_above_zero(number: float | int | Decimal) -> None:
    try:
        seconds = float(number)
    except OverflowError:
        seconds = math.inf
    if 0 < seconds < math.inf:
        assert checked_ttl(number) == seconds
        assert expiry(100.0, number) == min(100.0 + seconds, LATEST)
    else:
        with pytest.raises(InvalidTTL):
            expiry(100.0, number)


@given(st.timedeltas(min_value=timedelta(microseconds=1)))
def test_a_timedelta_is_its_seconds(ttl: timedelta) -> None:
    assert checked_ttl(ttl) == ttl.total_seconds()


def test_none_is_never() -> None:
    assert expiry(100.0, None) is None
