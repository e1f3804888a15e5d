"""A span for every operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from kvwrap.errors import ConfigurationError
from kvwrap.layers.base import Around, Call, Capability, checked_flag, need

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

T = TypeVar("T")

SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
"""The semantic conventions that the spans follow."""

_SYSTEMS = {"dynamodb": "aws.dynamodb", "postgres": "postgresql"}
"""Names that the conventions have for systems that kvwrap's stores call otherwise."""


class Tracing(Around):
    """Makes an OpenTelemetry span of every operation, under the database conventions.

    Spans are called "read sessions", after the operation (see `kvwrap.core.primitives`) and
    the collection, and have the attributes `db.system.name`, `db.operation.name`,
    `db.collection.name`, for batches `db.operation.batch.size`, for reads `kvwrap.hits`,
    and `error.type` where the operation failed (semantic conventions 1.44.0, "Database
    client spans"; a batch of one is a single operation). They are of kind CLIENT, or
    INTERNAL where the backend is this process's memory. The current span is the parent,
    and they are current themselves while the layers inside, and the driver, are at work.

    Args:
        tracer: Where spans come from; the global provider's tracer "kvwrap" if left out.
        db_system: The value of `db.system.name`; found from the backend if left out.
        keys: Whether the names of keys are put into spans, as `kvwrap.keys`. Without them,
            errors are told by their class alone, since their text names the key.

    Raises:
        ConfigurationError: opentelemetry-api is not installed.

    Values are never in a span. Cancellation ends the span, with `error.type`.
    """

    traits = frozenset({"observes"})

    def __init__(
        self, tracer: Tracer | None = None, *, db_system: str | None = None, keys: bool = False
    ) -> None:
        if db_system is not None and (type(db_system) is not str or not db_system):
            raise ConfigurationError(f"db_system is a name as in 'redis', not {db_system!r}")
        self._api = need("opentelemetry.trace", extra="opentelemetry", wanted_by="Tracing")
        self._context = need("opentelemetry.context", extra="opentelemetry", wanted_by="Tracing")
        if tracer is not None and not hasattr(tracer, "start_as_current_span"):
            raise ConfigurationError(f"a tracer of OpenTelemetry is wanted, not {tracer!r}")
        self._tracer = tracer or self._api.get_tracer("kvwrap", schema_url=SCHEMA)
        self._db_system = db_system
        self._keys = checked_flag(keys, "keys")

    def on_bind(self) -> None:
        base: Any = self.inner
        while hasattr(base, "inner"):
            base = base.inner
        system = base.name.removesuffix("Store").lower()
        self._system = self._db_system or _SYSTEMS.get(system, system)
        elsewhere = base.capabilities & {Capability.PERSISTENT, Capability.SHARED}
        kinds = self._api.SpanKind
        self._kind = kinds.CLIENT if elsewhere else kinds.INTERNAL

    async def around(self, call: Call[T]) -> T:
        collection, keys = call.collection, call.keys
        batch = len(keys) > 1
        operation = f"BATCH {call.operation}" if batch else call.operation
        attributes: dict[str, Any] = {
            "db.system.name": self._system,
            "db.operation.name": operation,
        }
        if collection is not None:
            attributes["db.collection.name"] = collection
        if batch:
            attributes["db.operation.batch.size"] = len(keys)
        if self._keys and keys:
            attributes["kvwrap.keys"] = list(keys)
        # By hand what `start_as_current_span` does by a generator, at half its cost.
        span = self._tracer.start_span(
            operation if collection is None else f"{operation} {collection}",
            kind=self._kind,
            attributes=attributes,
        )
        token = self._context.attach(self._api.set_span_in_context(span))
        try:
            result = await call()
        except BaseException as error:
            span.set_attribute("error.type", _qualified(type(error)))
            span.set_status(self._api.StatusCode.ERROR, str(error) if self._keys else None)
            if self._keys:
                span.record_exception(error)
            raise
        else:
            if call.operation == "read" and isinstance(result, list):
                span.set_attribute("kvwrap.hits", len(result) - result.count(None))
            return result
        finally:
            self._context.detach(token)
            span.end()


def _qualified(kind: type[BaseException]) -> str:
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"
