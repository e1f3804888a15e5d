"""A line in the log for every operation."""

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
    Store,
    ValueHook,
    checked_flag,
    checked_seconds,
)

T = TypeVar("T")

_KEYS_SHOWN = 10


class Logging(Around):
    """Logs operations with the standard `logging`: what, where, how many keys, how long.

    Every record has the fields `operation`, `collection`, `count` (keys concerned, or
    given), `hits` (entries read, or keys changed; absent where that says nothing),
    `seconds`, `error` (the class of the exception, or None) and, with `keys`, `keys` (the
    first ten), for handlers that write structured logs. Values are never in it unless
    `values` asks for them.

    Args:
        logger: A logger, or the name of one.
        level: The level of ordinary records. What fails is logged as a warning; what is
            cancelled, at `level`.
        slow: Operations that take at least so many seconds are logged as warnings; `None`
            for none.
        values: Whether every value put or got is logged as well, as the user sees it and at
            `level`, in a record with the fields `operation` ("put" or "get"), `collection`,
            `keys` and `value`.
        keys: Whether the names of keys are logged.

    Raises:
        ConfigurationError: `level` is not the name or number of a level.

    Where neither level nor slowness asks for a record, only the time is taken.
    """

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
            raise ConfigurationError(f"a logger or the name of one is wanted, not {logger!r}")
        known = logging.getLevelNamesMapping().get(level) if isinstance(level, str) else level
        if type(known) is not int or known < 1:
            raise ConfigurationError(f"there is no logging level {level!r}")
        self._level = known
        self._slow = float("inf") if slow is None else checked_seconds(slow, "slow", zero=True)
        self._values = checked_flag(values, "values")
        self._keys = checked_flag(keys, "keys")

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
        count, hits = _counted(call, result)
        fields: dict[str, Any] = {
            "operation": call.operation,
            "collection": call.collection,
            "count": count,
            "seconds": seconds,
            "error": None if error is None else type(error).__name__,
        }
        text = "%s in %r: %d keys"
        more: list[Any] = [call.operation, call.collection, count]
        if hits is not None:
            fields["hits"] = hits
            text += ", %d hits"
            more.append(hits)
        if self._keys and call.keys:
            fields["keys"] = shown = list(call.keys[:_KEYS_SHOWN])
            text += ", %r"
            more.append(shown)
        text += ", %.6f s"
        more.append(seconds)
        if error is not None:
            text += ", failed with %s"
            more.append(type(error).__name__)
        self._logger.log(level, text, *more, extra=fields)

    # -- values, only where they are asked for -------------------------------------------

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
            text = "%s in %r: %r, value %r"
            self._logger.log(self._level, text, operation, collection, keys, value, extra=fields)
        return value

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        if self._values:
            secret = any("encrypts" in layer.traits for layer in (*above, *below))
            yield Finding(
                "log-of-values",
                "Logging writes the values themselves into the log"
                + (", in the clear, though the stack encrypts them." if secret else "."),
                "Leave values=True out, or silence this where the log is as safe as the store.",
            )


def _counted(call: Call[Any], result: object) -> tuple[int, int | None]:
    """How many keys an operation was about, or gave, and how many of them it found or changed."""
    match call.operation, result:
        case "read", list():
            return len(result), len(result) - result.count(None)
        case (("write" | "remove" | "touch"), list()):
            return len(result), sum(result)
        case _, Page():
            return len(result.keys), None
        case _:
            return len(call.keys), None
