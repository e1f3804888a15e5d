"""Create an OpenTelemetry span for every operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from kvwrap.errors import ConfigurationError
from kvwrap.layers.base import (
    Around,
    Call,
    Capability,
    Layer,
    Passage,
    checked_flag,
    is_stale,
    need,
)

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

T = TypeVar("T")

SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
"""Version of the semantic conventions that the spans follow."""

_SYSTEMS = {"dynamodb": "aws.dynamodb", "postgres": "postgresql"}
"""Names of systems in the conventions, by kvwrap's names, where these differ."""


class Tracing(Around):
    """Creates an OpenTelemetry span for every operation, following the database conventions.

    A span is named after the operation (see `kvwrap.core.primitives`) and the collection, as in
    "read sessions". Its attributes are `db.system.name`, `db.operation.name` and
    `db.collection.name`, for a store with one server `server.address` and `server.port`, for
    batches `db.operation.batch.size`, for reads `kvwrap.hits` (entries found that are not stale)
    and `cache.hit` (True if there are any), for reads and writes `cache.item_size` (bytes of the
    entries), and `error.type` if the operation failed
    (semantic conventions 1.44.0, "Database client spans"; a batch of one is a single operation;
    the names that begin with `cache.` are those of Sentry's module for caches). Its kind
    is CLIENT, or INTERNAL if the backend is this process's memory. Its parent is the current
    span. It is itself current while the layers inside and the driver run.

    Args:
        tracer: Creates the spans; by default the global provider's tracer "kvwrap".
        db_system: The value of `db.system.name`; by default derived from the backend.
        keys: Whether spans contain the names of keys, as `kvwrap.keys`. If not, a span
            has only the class of an error, because the error's message names the key.

    Raises:
        ConfigurationError: opentelemetry-api is not installed.

    Values are never in a span. Cancellation ends the span, with `error.type`.
    """

    passage = Passage(read="is a span")
    traits = frozenset({"observes"})

    def __init__(
        self, tracer: Tracer | None = None, *, db_system: str | None = None, keys: bool = False
    ) -> None:
        if db_system is not None and (type(db_system) is not str or not db_system):
            raise ConfigurationError(
                f"`db_system` must be a name such as 'redis'; got {db_system!r}"
            )
        self._api = need("opentelemetry.trace", extra="opentelemetry", wanted_by="Tracing")
        self._context = need("opentelemetry.context", extra="opentelemetry", wanted_by="Tracing")
        if tracer is not None and not hasattr(tracer, "start_as_current_span"):
            raise ConfigurationError(
                f"`tracer` must be an OpenTelemetry tracer, as from trace.get_tracer('app'); got "
                f"{type(tracer).__name__}"
            )
        self._tracer = tracer or self._api.get_tracer("kvwrap", schema_url=SCHEMA)
        self._db_system = db_system
        self._keys = checked_flag(keys, "keys")

    def on_bind(self) -> None:
        base: Any = self.inner
        while hasattr(base, "inner"):
            base = base.inner
        system = base.name.removesuffix("Store").lower()
        self._system = self._db_system or _SYSTEMS.get(system, system)
        self._server = _server_of(self, base)
        is_external = base.capabilities & {Capability.PERSISTENT, Capability.SHARED}
        kinds = self._api.SpanKind
        self._kind = kinds.CLIENT if is_external else kinds.INTERNAL

    # A whole range is one operation.
    count_range, drop_range = Layer.count_range, Layer.drop_range

    async def around(self, call: Call[T]) -> T:
        collection, keys = call.collection, call.keys
        is_batch = len(keys) > 1
        operation = f"BATCH {call.operation}" if is_batch else call.operation
        attributes: dict[str, Any] = {
            "db.system.name": self._system,
            "db.operation.name": operation,
            **self._server,
        }
        if collection is not None:
            attributes["db.collection.name"] = collection
        if is_batch:
            attributes["db.operation.batch.size"] = len(keys)
        if self._keys and keys:
            attributes["kvwrap.keys"] = list(keys)
        # This is what `start_as_current_span` does with a generator, which costs twice as much.
        span = self._tracer.start_span(
            operation if collection is None else f"{operation} {collection}",
            kind=self._kind,
            attributes=attributes,
        )
        token = self._context.attach(self._api.set_span_in_context(span))
        try:
            result = await call()
        except BaseException as error:
            span.set_attribute("error.type", _qualified_name(type(error)))
            span.set_status(self._api.StatusCode.ERROR, str(error) if self._keys else None)
            if self._keys:
                span.record_exception(error)
            raise
        else:
            if call.operation == "read" and isinstance(result, list):
                now = self.clock.time()
                hits = sum(entry is not None and not is_stale(entry, now) for entry in result)
                span.set_attribute("kvwrap.hits", hits)
                span.set_attribute("cache.hit", hits > 0)
                sizes = [len(entry.body) for entry in result if entry is not None]
                span.set_attribute("cache.item_size", sum(sizes))
            elif call.operation == "write":
                sizes = [len(entry.body) for entry in call.arguments[2]]
                span.set_attribute("cache.item_size", sum(sizes))
            return result
        finally:
            self._context.detach(token)
            span.end()


def _server_of(part: Any, base: Any) -> dict[str, str | int]:
    """Return the attributes of the server that all calls go to, if there is one."""
    while part is not base:
        part = part.inner
        if "spreads" in part.traits:
            return {}
    servers = base.servers
    if len(servers) != 1:
        return {}
    ((host, port),) = servers
    attributes: dict[str, str | int] = {"server.address": host}
    return attributes if port is None else attributes | {"server.port": port}


def _qualified_name(cls: type[BaseException]) -> str:
    module = cls.__module__
    return cls.__qualname__ if module == "builtins" else f"{module}.{cls.__qualname__}"
