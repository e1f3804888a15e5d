"""Errors: their built-in bases and their texts."""

from __future__ import annotations

import inspect

import pytest

from kvwrap import errors
from kvwrap.errors import KvwrapError

BUILT_IN = {
    "AccessDenied": PermissionError,
    "CircuitOpen": ConnectionError,
    "ConfigurationError": ValueError,
    "CorruptEntry": ValueError,
    "Deadlock": RuntimeError,
    "LockLost": RuntimeError,
    "LockTimeout": TimeoutError,
    "SharedValueChanged": RuntimeError,
    "DecryptionError": ValueError,
    "InvalidBatch": ValueError,
    "InvalidKey": ValueError,
    "InvalidTTL": ValueError,
    "InvalidValue": ValueError,
    "KeyNotFound": KeyError,
    "RateLimited": ConnectionError,
    "ReadOnlyViolation": PermissionError,
    "SerializationError": ValueError,
    "StoreFull": ConnectionError,
    "StoreTimeout": TimeoutError,
    "StoreUnavailable": ConnectionError,
    "UnsupportedOperation": NotImplementedError,
    "ValueTooLarge": ValueError,
}
KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, KvwrapError) and kind is not KvwrapError
}


def test_every_error_is_in_the_table() -> None:
    assert sorted(KINDS) == sorted(BUILT_IN)


@pytest.mark.parametrize("name", BUILT_IN)
def test_an_error_is_a_built_in_error_and_its_text_has_the_names(name: str) -> None:
    error = KINDS[name]("what happened", store="MemoryStore", collection="there", key="the key")
    assert isinstance(error, KvwrapError)
    assert isinstance(error, BUILT_IN[name])
    assert str(error) == ("what happened (store MemoryStore, collection 'there', key 'the key')")
    assert str(KINDS[name]("what happened")) == "what happened"
    assert error.message == "what happened"


def test_an_error_from_the_middle_of_a_batch_counts_the_keys_that_succeeded() -> None:
    error = errors.StoreUnavailable("gone", store="RedisStore", succeeded=iter(["a", "b"]))
    assert error.succeeded == ("a", "b")
    assert str(error) == "gone (store RedisStore, succeeded before the failure: 2 keys)"
    assert errors.StoreUnavailable("gone").succeeded is None


def test_a_timeout_is_also_an_unavailable_store() -> None:
    for kind in (errors.StoreTimeout, errors.StoreFull, errors.CircuitOpen, errors.RateLimited):
        assert issubclass(kind, errors.StoreUnavailable)


def test_a_stack_warning_can_be_filtered_like_any_user_warning() -> None:
    assert issubclass(errors.StackWarning, UserWarning)
