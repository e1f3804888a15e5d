"""Which records Logging writes, at which level, and what it never logs."""

from __future__ import annotations

import asyncio
import logging

import pytest

from kvwrap import (
    Chaos,
    ConfigurationError,
    Keyring,
    Logging,
    MemoryStore,
    StackWarning,
    StoreUnavailable,
    stack,
)

FIELDS = ("operation", "collection", "count", "hits", "keys", "error")


class RecordingHandler(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


@pytest.fixture
def records(caplog):
    caplog.set_level(logging.DEBUG, logger="kvwrap")
    handler = RecordingHandler()
    logging.getLogger("kvwrap").addHandler(handler)
    yield handler.records
    logging.getLogger("kvwrap").removeHandler(handler)


def logged(clock, **options):
    return stack().log(**options).chaos().over(MemoryStore(clock=clock))


def fields(record):
    return {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}


async def test_every_operation_is_one_record_with_its_fields(clock, records):
    store = logged(clock)
    await store.put("a", 1, collection="c")
    await store.get_many(["a", "b"], collection="c")
    await store.delete("b", collection="c")
    await store.keys("c")
    await store.count(collection="c")
    await store.delete_where(collection="c")
    await store.check()
    assert [fields(record) for record in records] == [
        {
            "operation": "write", "collection": "c", "count": 1, "hits": 1, "keys": ["a"],
            "error": None,
        },
        {
            "operation": "read", "collection": "c", "count": 2, "hits": 1, "keys": ["a", "b"],
            "error": None,
        },
        {
            "operation": "remove", "collection": "c", "count": 1, "hits": 0, "keys": ["b"],
            "error": None,
        },
        {"operation": "list_keys", "collection": "c", "count": 1, "error": None},
        {"operation": "count_range", "collection": "c", "count": 1, "error": None},
        {"operation": "drop_range", "collection": "c", "count": 1, "hits": 1, "error": None},
        {"operation": "ping", "collection": None, "count": 0, "error": None},
    ]  # fmt: skip
    assert {(record.name, record.levelno) for record in records} == {("kvwrap", logging.DEBUG)}


async def test_the_message_contains_the_fields(clock, records):
    await logged(clock).get("a", collection="c")
    assert records[0].getMessage() == "read in 'c': 1 keys, 0 hits, ['a'], 0.000000 s"


async def test_a_slow_operation_is_a_warning(clock, records):
    store = stack().log(slow=2).chaos(delay=3, operations=["read"]).over(MemoryStore(clock=clock))
    await store.put("a", 1)
    task = asyncio.create_task(store.get("a"))
    await clock.run(3)
    await task
    quick, slow = records
    assert (quick.levelno, quick.seconds) == (logging.DEBUG, 0)
    assert (slow.levelno, slow.seconds) == (logging.WARNING, 3)


async def test_a_failure_is_a_warning_with_the_name_of_its_class(clock, records):
    store = logged(clock)
    store.find(Chaos).down = True
    with pytest.raises(StoreUnavailable):
        await store.get("a")
    (record,) = records
    assert record.levelno == logging.WARNING
    assert record.error in {"StoreUnavailable", "StoreTimeout"}
    assert record.exc_info is None
    assert record.getMessage().endswith(f"failed with {record.error}")


async def test_a_cancellation_is_an_ordinary_record(clock, records):
    store = stack().log().chaos(delay=60).over(MemoryStore(clock=clock))
    task = asyncio.create_task(store.get("a"))
    await clock.settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (record,) = records
    assert (record.levelno, record.error) == (logging.DEBUG, "CancelledError")


async def test_values_are_never_logged_by_default(clock, records):
    store = logged(clock)
    await store.put_many(["a", "b"], ["secret", {"secret": 1}])
    await store.get("a")
    assert "secret" not in repr([vars(record) for record in records])


async def test_values_are_logged_on_request(clock, records):
    with pytest.warns(StackWarning, match="log-of-values"):
        store = logged(clock, values=True)
    await store.put("a", {"n": 1}, collection="c")
    await store.get("a", collection="c")
    values = [record for record in records if hasattr(record, "value")]
    assert [(r.operation, r.collection, r.keys, r.value) for r in values] == [
        ("put", "c", ["a"], {"n": 1}),
        ("get", "c", ["a"], {"n": 1}),
    ]


def test_values_logged_beside_encryption_are_reported_as_plaintext():
    ring = Keyring({"k": Keyring.generate_key()})
    with pytest.warns(StackWarning, match="in plaintext, although the stack encrypts"):
        stack().log(values=True).encrypt(ring).over(MemoryStore())


async def test_keys_can_be_omitted(clock, records):
    store = logged(clock, keys=False)
    await store.put("hush", 1)
    store.find(Chaos).down = True
    with pytest.raises(StoreUnavailable):
        await store.get("hush")
    assert "hush" not in repr([vars(record) for record in records])
    assert "hush" not in "".join(record.getMessage() for record in records)


async def test_of_a_long_batch_only_the_first_keys_are_logged(clock, records):
    await logged(clock).get_many([str(number) for number in range(1000)])
    assert records[0].count == 1000
    assert records[0].keys == [str(number) for number in range(10)]


async def test_logger_and_level_can_be_chosen(clock, caplog):
    caplog.set_level(logging.INFO, logger="mine")
    await logged(clock, logger=logging.getLogger("mine"), level="INFO").get("a")
    await logged(clock, logger="mine", level=logging.DEBUG).get("a")
    assert [(record.name, record.levelname) for record in caplog.records] == [("mine", "INFO")]


async def test_a_disabled_level_makes_no_record(clock, monkeypatch):
    logger = logging.getLogger("quiet")
    logger.setLevel(logging.INFO)
    monkeypatch.setattr(logger, "log", lambda *a, **k: pytest.fail("a record was made"))
    store = logged(clock, logger=logger)
    await store.put("a", 1)
    assert await store.get("a") == 1


@pytest.mark.parametrize(
    "options",
    [{"level": "LOUD"}, {"level": 0}, {"level": 1.5}, {"slow": -1}, {"slow": "1"}],
)
def test_invalid_arguments_are_refused(options):
    with pytest.raises(ConfigurationError):
        Logging(**options)


async def test_a_stale_value_is_no_hit(clock, records):
    store = logged(clock)
    await store.get_or_put("a", lambda: 1, ttl=10, stale_ttl=100)
    await store.get("a")
    clock.advance(10)
    await store.get("a")
    assert [record.hits for record in records if record.operation == "read"] == [0, 1, 0]
