"""Write a log record for every operation."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from kvwrap.errors import ConfigurationError
from kvwrap.layers.base import (
    Around,
    Call,
    Collection,
    Finding,
    Layer,
    Page,
    Passage,
    Store,
    ValueHook,
    checked_flag,
    checked_seconds,
    is_stale,
)

T = TypeVar("T")

_KEYS_SHOWN = 10


class Logging(Around):
    """Logs operations with the standard `logging`: operation, collection, keys, duration.

    Every record has these fields, for handlers that write structured logs: `operation`,
    `collection`, `count` (number of keys in the call or in the result), `hits` (number of
    entries found that are not stale, or of keys changed; absent if it has no meaning),
    `seconds`, `error` (name of the exception's class, or None) and, with `keys`, `keys` (the
    first ten). Values are never logged unless `values` is set.

    Args:
        logger: A logger, or its name.
        level: The level of ordinary records, as a number or a name. A failed operation is
            logged as a warning, a cancelled one at `level`.
        slow: Operations that take at least this many seconds are logged as warnings; `None`
            for no such limit.
        values: Whether every value put or got is logged too, as the user sees it, at `level`.
            Its record has the fields `operation` ("put" or "get"), `collection`, `keys` and
            `value`.
        keys: Whether the names of keys are logged.

    Raises:
        ConfigurationError: `level` is not the name or number of a level.

    If no record is needed, because `level` is disabled and the operation was not slow, only
    the time is measured.
    """

    passage = Passage(read="is logged with its duration")
    traits = frozenset({"observes"})
    finding_codes = frozenset({"log-of-values"})

    def __init__(
        self,
        logger: str | logging.Logger = "kvwrap",
        *,
        level: int | str = logging.DEBUG,
        slow: float | None = None,
        values: bool = False,
        keys: bool = True,
    ) -> None:
        self._logger = logging.getLogger(logger) if isinstance(logger, str) else logger
        if not isinstance(self._logger, logging.Logger):
            raise ConfigurationError(
                f"`logger` must be a logging.Logger or its name; got {type(logger).__name__}"
            )
        number = logging.getLevelNamesMapping().get(level) if isinstance(level, str) else level
        if type(number) is not int or number < 1:
            raise ConfigurationError(
                "`level` must be the name or number of a logging level, such as 'INFO'; got "
                f"{level!r}"
            )
        self._level = number
        self._slow = float("inf") if slow is None else checked_seconds(slow, "slow", zero=True)
        self._values = checked_flag(values, "values")
        self._keys = checked_flag(keys, "keys")

    # A whole range is one operation.
    count_range, drop_range = Layer.count_range, Layer.drop_range

    async def around(self, call: Call[T]) -> T:
        now = self.clock.monotonic
        began = now()
        try:
            result = await call()
        except Exception as error:
            self._log(logging.WARNING, call, now() - began, error=error)
            raise
        except BaseException as error:
            self._log(self._level, call, now() - began, error=error)
            raise
        seconds = now() - began
        level = self._level if seconds < self._slow else max(self._level, logging.WARNING)
        if self._logger.isEnabledFor(level):
            self._log(level, call, seconds, result=result)
        return result

    def _log(
        self,
        level: int,
        call: Call[Any],
        seconds: float,
        *,
        result: object = None,
        error: BaseException | None = None,
    ) -> None:
        count, hits = _count(call, result, self.clock.time())
        fields: dict[str, Any] = {
            "operation": call.operation,
            "collection": call.collection,
            "count": count,
            "seconds": seconds,
            "error": None if error is None else type(error).__name__,
        }
        message = "%s in %r: %d keys"
        arguments: list[Any] = [call.operation, call.collection, count]
        if hits is not None:
            fields["hits"] = hits
            message += ", %d hits"
            arguments.append(hits)
        if self._keys and call.keys:
            fields["keys"] = shown = list(call.keys[:_KEYS_SHOWN])
            message += ", %r"
            arguments.append(shown)
        message += ", %.6f s"
        arguments.append(seconds)
        if error is not None:
            message += ", failed with %s"
            arguments.append(type(error).__name__)
        self._logger.log(level, message, *arguments, extra=fields)

    # -- values, only with `values` ------------------------------------------------------

    @property
    def put_hook(self) -> ValueHook | None:
        return self.on_put if self._values else None

    @property
    def get_hook(self) -> ValueHook | None:
        return self.on_get if self._values else None

    def on_put(self, value: Any, key: str, collection: Collection) -> Any:
        return self._log_value("put", value, key, collection)

    def on_get(self, value: Any, key: str, collection: Collection) -> Any:
        return self._log_value("get", value, key, collection)

    def _log_value(self, operation: str, value: Any, key: str, collection: Collection) -> Any:
        if self._logger.isEnabledFor(self._level):
            keys = [key] if self._keys else []
            fields = {
                "operation": operation,
                "collection": collection,
                "keys": keys,
                "value": value,
            }
            message = "%s in %r: %r, value %r"
            self._logger.log(self._level, message, operation, collection, keys, value, extra=fields)
        return value

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        if self._values:
            encrypted = any("encrypts" in layer.traits for layer in (*above, *below))
            yield Finding(
                "log-of-values",
                "Logging writes values to the log"
                + (", in plaintext, although the stack encrypts them." if encrypted else "."),
                "Remove values=True. Silence this finding if the log is as safe as the store.",
            )


def _count(call: Call[Any], result: object, now: float) -> tuple[int, int | None]:
    """Return the number of keys in a call or its result, and how many it found or changed."""
    match call.operation, result:
        case "read", list():
            return len(result), sum(e is not None and not is_stale(e, now) for e in result)
        case (("write" | "remove" | "touch"), list()):
            return len(result), sum(result)
        case "drop_range", int():
            return result, result
        case "count_range", int():
            return result, None
        case _, Page():
            return len(result.keys), None
        case _:
            return len(call.keys), None
