"""Helpers of the tests of configurations."""

from __future__ import annotations

import traceback

import pytest

from kvwrap import ConfigurationError, from_config

SECRET = "hunter2-and-more"


def refused(source, **options):
    with pytest.raises(ConfigurationError) as caught:
        from_config(source, **options)
    whole = "".join(traceback.format_exception(caught.value))
    assert SECRET not in whole
    return str(caught.value)


def layer(**options):
    return {"store": "memory://", "layers": [options]}


def only(value, key, collection):
    return isinstance(value, int)
