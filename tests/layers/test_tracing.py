"""The spans that Tracing creates, and their parents."""

from __future__ import annotations

import asyncio
import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv.attributes import (
    db_attributes,
    error_attributes,
    server_attributes,
)
from opentelemetry.trace import SpanKind, StatusCode

from kvwrap import (
    Chaos,
    ConfigurationError,
    MemoryStore,
    SQLiteStore,
    StoreUnavailable,
    Tracing,
    stack,
    store_from_url,
)
from kvwrap.layers.base import Around
from kvwrap.layers.tracing import SCHEMA


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("test")


@pytest.fixture
def store(tracer, clock):
    return stack().trace(tracer).chaos().over(MemoryStore(clock=clock))


async def test_an_operation_is_a_span_that_follows_the_conventions(store, exporter):
    await store.put("a", 1, collection="sessions")
    (span,) = exporter.get_finished_spans()
    assert span.name == "write sessions"
    assert dict(span.attributes) == {
        db_attributes.DB_SYSTEM_NAME: "memory",
        db_attributes.DB_OPERATION_NAME: "write",
        db_attributes.DB_COLLECTION_NAME: "sessions",
        "cache.item_size": 1,
    }
    assert span.status.status_code is StatusCode.UNSET


async def test_a_batch_has_its_size_and_a_read_its_hits(store, exporter):
    await store.put("a", 1)
    await store.get_many(["a", "b", "c"])
    await store.get("a")
    _, batch, single = exporter.get_finished_spans()
    assert batch.name == "BATCH read"
    assert batch.attributes[db_attributes.DB_OPERATION_NAME] == "BATCH read"
    assert batch.attributes[db_attributes.DB_OPERATION_BATCH_SIZE] == 3
    assert batch.attributes["kvwrap.hits"] == 1
    assert db_attributes.DB_COLLECTION_NAME not in batch.attributes
    assert db_attributes.DB_OPERATION_BATCH_SIZE not in single.attributes


async def test_spans_tell_hits_and_sizes_as_caches_do(store, exporter):
    await store.put("a", "x" * 98)
    await store.get("a")
    await store.get("missing")
    await store.get_many(["a", "missing"])
    await store.delete("a")
    spans = exporter.get_finished_spans()
    assert [
        (span.attributes.get("cache.hit"), span.attributes.get("cache.item_size")) for span in spans
    ] == [(None, 100), (True, 100), (False, 0), (True, 100), (None, None)]


async def test_a_stale_value_is_no_hit(store, exporter, clock):
    await store.get_or_put("a", lambda: 1, ttl=10, stale_ttl=100)
    await store.get("a")
    clock.advance(10)
    await store.get("a")
    reads = [span for span in exporter.get_finished_spans() if span.name == "read"]
    assert [span.attributes["kvwrap.hits"] for span in reads] == [0, 1, 0]


async def test_a_failure_is_recorded_by_its_class_and_without_its_message(store, exporter):
    store.find(Chaos).down = True
    with pytest.raises(ConnectionError) as caught:
        await store.get("hush", collection="c")
    (span,) = exporter.get_finished_spans()
    kind = type(caught.value)
    assert span.attributes[error_attributes.ERROR_TYPE] == f"kvwrap.errors.{kind.__name__}"
    assert span.status.status_code is StatusCode.ERROR
    assert "hush" not in span.to_json()


async def test_keys_are_recorded_on_request(tracer, exporter, clock):
    store = stack().trace(tracer, keys=True).chaos().over(MemoryStore(clock=clock))
    await store.put_many(["a", "b"], ["secret", "secret"])
    store.find(Chaos).down = True
    with pytest.raises(ConnectionError):
        await store.get("a")
    succeeded, failed = exporter.get_finished_spans()
    assert succeeded.attributes["kvwrap.keys"] == ("a", "b")
    assert "key 'a'" in failed.status.description
    assert [event.name for event in failed.events] == ["exception"]
    assert "secret" not in succeeded.to_json() + failed.to_json()


async def test_a_cancelled_operation_ends_its_span(tracer, exporter, clock):
    store = stack().trace(tracer).chaos(delay=60).over(MemoryStore(clock=clock))
    task = asyncio.create_task(store.get("a"))
    await clock.settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (span,) = exporter.get_finished_spans()
    assert span.attributes[error_attributes.ERROR_TYPE] == "asyncio.exceptions.CancelledError"


async def test_spans_have_the_right_parents_across_awaits_and_tasks(tracer, exporter, clock):
    class Inner(Around):
        """Creates spans like a driver's own instrumentation."""

        async def around(self, call):
            await self.clock.sleep(len(call.keys[0]))
            with tracer.start_as_current_span(f"driver {call.keys[0]}"):
                await self.clock.sleep(1)
                return await call()

    store = stack().trace(tracer).layer(Inner()).over(MemoryStore(clock=clock))

    async def request(name):
        with tracer.start_as_current_span(f"request {name}"):
            await store.get(name, collection=name)
            await store.get(name, collection=name)

    tasks = [asyncio.create_task(request("x" * number)) for number in range(1, 6)]
    await clock.run(100)
    await asyncio.gather(*tasks)
    spans = {span.context.span_id: span for span in exporter.get_finished_spans()}
    assert len(spans) == 25
    for span in spans.values():
        kind, _, name = span.name.partition(" ")
        if kind == "request":
            assert span.parent is None
            continue
        parent = spans[span.parent.span_id]
        assert parent.name == {"read": f"request {name}", "driver": f"read {name}"}[kind]
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_the_backend_determines_system_and_kind(tracer, exporter, tmp_path, clock):
    async with stack().trace(tracer).over(SQLiteStore(tmp_path / "s.db")) as store:
        await store.get("a")
    await stack().trace(tracer).prefix_collection("p").over(MemoryStore()).get("a")
    await stack().trace(tracer, db_system="other").over(MemoryStore()).get("a")
    found = [
        (span.attributes[db_attributes.DB_SYSTEM_NAME], span.kind)
        for span in exporter.get_finished_spans()
    ]
    assert found == [
        ("sqlite", SpanKind.CLIENT),
        ("memory", SpanKind.INTERNAL),
        ("other", SpanKind.INTERNAL),
    ]


@pytest.mark.parametrize(
    ("url", "system", "address", "port"),
    [
        ("redis://ada:secret@db.example:6380/1", "redis", "db.example", 6380),
        ("redis://db.example", "redis", "db.example", 6379),
        ("rediss://:secret@[::1]:7000", "redis", "::1", 7000),
        ("unix://ada:secret@/run/redis.sock", "redis", "/run/redis.sock", None),
        ("valkey://ada:secret@db.example", "valkey", "db.example", 6379),
        ("redis+cluster://ada:secret@a:7000,b:7000", "redis", None, None),
        ("redis+sentinel://ada:secret@a:26379/main", "redis", None, None),
        ("postgresql://ada:secret@db.example:5433/app", "postgresql", "db.example", 5433),
        ("postgresql://ada:secret@a,b/app", "postgresql", None, None),
        ("memcached://db.example", "memcached", "db.example", 11211),
        ("memcached://a,b", "memcached", None, None),
        ("mongodb://ada:secret@db.example/app", "mongodb", "db.example", 27017),
        ("mongodb+srv://ada:secret@db.example/app", "mongodb", "db.example", None),
        ("etcd://ada:secret@db.example:2380", "etcd", "db.example", 2380),
        ("nats://ada:secret@db.example", "nats", "db.example", 4222),
        ("elasticsearch://ada:secret@db.example", "elasticsearch", "db.example", 9200),
        (
            "dynamodb://table?region=eu-central-1&endpoint_url=http%3A%2F%2Fdb.example%3A8000",
            "aws.dynamodb",
            "db.example",
            8000,
        ),
        ("dynamodb://table?region=eu-central-1", "aws.dynamodb", None, None),
        ("s3://bucket?endpoint=https%3A%2F%2Fdb.example&region=x", "object", "db.example", 443),
    ],
)
async def test_a_span_names_the_server_and_no_login(
    tracer, exporter, monkeypatch, url, system, address, port
):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "secret")
    inner = store_from_url(url)

    async def answer():
        return None

    monkeypatch.setattr(inner, "ping", answer)
    await stack().trace(tracer).over(inner).ping()
    (span,) = exporter.get_finished_spans()
    attributes = dict(span.attributes)
    assert attributes.pop("db.system.name") == system
    assert attributes.pop("db.operation.name") == "ping"
    wanted = {server_attributes.SERVER_ADDRESS: address, server_attributes.SERVER_PORT: port}
    assert attributes == {name: value for name, value in wanted.items() if value is not None}


async def test_a_span_names_no_server_where_entries_are_on_several(tracer, exporter):
    layers = stack().trace(tracer).route({"a": lambda: store_from_url("memcached://other")})
    store = layers.over(store_from_url("memcached://db.example"))
    with pytest.raises(StoreUnavailable):
        await store.get("a")
    (span,) = exporter.get_finished_spans()
    assert server_attributes.SERVER_ADDRESS not in span.attributes


async def test_without_a_provider_it_changes_nothing(clock):
    store = stack().trace().over(MemoryStore(clock=clock))
    await store.put("a", 1)
    assert await store.get("a") == 1


def test_the_conventions_are_a_published_version():
    from opentelemetry.semconv.schemas import Schemas

    assert SCHEMA in {schema.value for schema in Schemas}


def test_invalid_arguments_and_a_missing_package_are_refused(monkeypatch):
    with pytest.raises(ConfigurationError):
        Tracing(db_system="")
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    with pytest.raises(ConfigurationError, match=r"the extra .opentelemetry."):
        Tracing()
