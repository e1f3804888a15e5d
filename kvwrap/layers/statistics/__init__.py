"""Counts and latencies of operations."""

from kvwrap.layers.statistics.layer import Statistics

__all__ = ["Statistics"]
