"""Latencies in buckets, and the error of their percentiles."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap.layers.statistics.counts import Counts
from kvwrap.layers.statistics.histogram import ERROR, Latency, bucket_index, upper_bound


def latency(seconds):
    counts = {}
    for value in seconds:
        counts[bucket_index(value)] = counts.get(bucket_index(value), 0) + 1
    return Latency(sum(seconds), tuple(sorted(counts.items())))


@given(
    st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=60),
    st.floats(0, 1),
)
def test_percentiles_are_within_the_stated_error(seconds, share):
    exact = sorted(seconds)[math.floor(share * (len(seconds) - 1))]
    assert latency(seconds).percentile(share) == pytest.approx(exact, rel=ERROR + 1e-3)


@given(st.floats(0, 1e6))
def test_a_latency_is_between_the_bounds_of_its_bucket(seconds):
    index = bucket_index(seconds)
    assert upper_bound(index - 1) <= seconds * (1 + 1e-9) + 1e-18
    assert seconds <= upper_bound(index) * (1 + 1e-9)


@given(st.lists(st.lists(st.floats(0, 100), max_size=20), max_size=5))
def test_merging_loses_nothing(parts):
    merged = Latency.merged(map(latency, parts))
    whole = latency([value for part in parts for value in part])
    assert merged.buckets == whole.buckets
    assert merged.seconds == pytest.approx(whole.seconds)


def test_no_calls_have_no_latency():
    assert (Latency().mean, Latency().p95, Latency().calls) == (0.0, 0.0, 0)
    assert Counts().hit_rate == 0.0
    with pytest.raises(ValueError, match="from 0 to 1"):
        Latency().percentile(95)
