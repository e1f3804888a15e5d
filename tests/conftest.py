"""Fixtures of the whole suite; those of `kvwrap.testing.plugin` come by its entry point."""

from __future__ import annotations
