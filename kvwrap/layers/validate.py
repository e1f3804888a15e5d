"""Validate: values are checked against a type or by a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NewType

from kvwrap.errors import ConfigurationError, InvalidValue
from kvwrap.layers.base import (
    KINDS_OF_MODELS,
    Collection,
    Finding,
    Layer,
    Mismatch,
    Passage,
    Store,
    ValueHook,
    checked_flag,
    converter,
)

OnRead = Literal["ignore", "raise", "missing"]


class Validate(Layer):
    """Refuses to put a value that fails a check, with `InvalidValue`; nothing is written.

    Args:
        check: A type (dataclass, TypedDict, msgspec Struct, pydantic model, `list[int]`, …)
            of which the value must be an instance, in JSON's terms. Or a function of value,
            key and collection that returns False or raises to refuse the value.
        on_read: The treatment of a stored value that fails the check: "ignore" (values are
            not checked when read), "raise" `InvalidValue`, or "missing": `get` returns None.
        coerce: True stores the value as the type converts it, with defaults filled in and
            numbers read from strings. False stores the value unchanged.

    Values are checked as the user puts and gets them, at every position in the stack. The
    errors name the type and the field, and never quote the value. An exception of a function
    is not shown either, unless it is an `InvalidValue`, which passes unchanged.
    """

    passage = Passage(
        read="passes unchanged, or is checked too",
        write="is refused if its value fails the check",
    )
    traits = frozenset({"guards"})
    finding_codes = frozenset({"validate-twice"})

    def __init__(self, check: Any, *, on_read: OnRead = "ignore", coerce: bool = False) -> None:
        if on_read not in ("ignore", "raise", "missing"):
            raise ConfigurationError(
                f"`on_read` must be 'ignore', 'raise' or 'missing'; got {on_read!r}"
            )
        self._on_read = on_read
        self._coerce = checked_flag(coerce, "coerce")
        if hasattr(check, "__pydantic_validator__") or not callable(check) or _is_type(check):
            self._check, self._convert = _type_check(check, coerce=coerce)
        elif coerce:
            raise ConfigurationError(
                "coerce=True needs a type as `check`: a function cannot convert values"
            )
        else:
            self._check = self._convert = _function_check(check)

    def on_put(self, value: Any, key: str, collection: Collection) -> Any:
        if self._coerce:
            return self._run(self._convert, value, key, collection)
        self._run(self._check, value, key, collection)
        return value

    @property
    def get_hook(self) -> ValueHook | None:
        """`on_get`, unless values are not checked when read."""
        return None if self._on_read == "ignore" else super().get_hook

    def on_get(self, value: Any, key: str, collection: Collection) -> Any:
        try:
            self._run(self._check, value, key, collection)
        except InvalidValue:
            if self._on_read == "missing":
                return None
            raise
        return value

    def _run(self, check: _Check, value: Any, key: str, collection: Collection) -> Any:
        try:
            return check(value, key, collection)
        except InvalidValue as error:
            error.store = error.store or self.name
            error.collection, error.key = collection, key
            raise

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        if self in above:
            yield Finding(
                "validate-twice",
                "The same Validate is in the stack twice, so every value is checked twice.",
                "Remove one .validate().",
            )


_Check = Callable[[Any, str, Collection], Any]
"""Takes value, key and collection; returns the converted value, or raises `InvalidValue`."""


def _is_type(check: Any) -> bool:
    return isinstance(check, type | NewType) or hasattr(check, "__origin__")


def _type_check(check: Any, *, coerce: bool) -> tuple[_Check, _Check]:
    """Return the check of a type, and the check that also converts the value for storage."""
    try:
        model = converter(check, strict=not coerce, any_class=True)
    except (TypeError, NameError) as error:
        raise ConfigurationError(
            f"`check` must be {KINDS_OF_MODELS}, or a function of value, key and collection; "
            f"got {check!r}"
        ) from error

    def wrap(convert: Callable[[Any], Any]) -> _Check:
        def run(value: Any, key: str, collection: Collection) -> Any:
            try:
                return convert(value)
            except Mismatch as mismatch:
                raise InvalidValue(f"the value must be a valid {model.name}: {mismatch}") from None

        return run

    return wrap(model.check), wrap(model.complete)


def _function_check(check: Any) -> _Check:
    name = getattr(check, "__name__", type(check).__name__)

    def run(value: Any, key: str, collection: Collection) -> Any:
        try:
            passes = check(value, key, collection)
        except InvalidValue:
            raise
        except Exception as error:
            reason = f"it raised {type(error).__name__}"
            raise InvalidValue(f"{name} refused the value: {reason}") from None
        if passes is not None and not passes:
            raise InvalidValue(f"{name} refused the value")
        return value

    return run
