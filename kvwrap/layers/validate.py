"""Values that must be what they are said to be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, NewType

import msgspec

from kvwrap.errors import ConfigurationError, InvalidValue
from kvwrap.layers.base import Collection, Finding, Layer, Store, checked_flag

OnRead = Literal["ignore", "raise", "missing"]


class Validate(Layer):
    """Refuses, with `InvalidValue`, to put what does not pass a check; nothing is written.

    Args:
        check: A type (dataclass, TypedDict, msgspec Struct, pydantic model, `list[int]`, …)
            that the value must be an instance of in JSON's terms, or a function of value,
            key and collection that returns False or raises to refuse the value.
        on_read: What happens to a stored value that does not pass: "ignore" (it is not even
            checked), "raise" `InvalidValue`, or "missing": `get` gives None.
        coerce: Whether a type's idea of the value is stored, with defaults filled in and
            numbers read from strings, rather than the value as it was put.

    Values are checked as the user gives and gets them, wherever in the stack this stands.
    The errors name the type and the field, and never quote the value: what a function
    raises is not shown either, unless it is an `InvalidValue`, which passes as it is.
    """

    traits = frozenset({"guards"})
    finding_codes = frozenset({"validate-twice"})

    def __init__(self, check: Any, *, on_read: OnRead = "ignore", coerce: bool = False) -> None:
        if on_read not in ("ignore", "raise", "missing"):
            raise ConfigurationError(f"on_read is 'ignore', 'raise' or 'missing', not {on_read!r}")
        self._on_read = on_read
        self._coerce = checked_flag(coerce, "coerce")
        self._plain: Callable[[Any], Any] = _plain
        if hasattr(check, "__pydantic_validator__"):
            self._checked, self._plain = _by_pydantic(check)
        elif not callable(check) or _is_type(check):
            self._checked = _by_msgspec(check, strict=not coerce)
        elif coerce:
            raise ConfigurationError("coerce=True needs a type: a function only says yes or no")
        else:
            self._checked = _by_function(check)

    def on_put(self, value: Any, key: str, collection: Collection) -> Any:
        converted = self._passed(value, key, collection)
        return self._plain(converted) if self._coerce else value

    def on_get(self, value: Any, key: str, collection: Collection) -> Any:
        if self._on_read == "ignore":
            return value
        try:
            self._passed(value, key, collection)
        except InvalidValue:
            if self._on_read == "missing":
                return None
            raise
        return value

    def _passed(self, value: Any, key: str, collection: Collection) -> Any:
        try:
            return self._checked(value, key, collection)
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
                "The same Validate stands in the stack twice, and every value is checked twice.",
                "Leave one .validate().",
            )


_Check = Callable[[Any, str, Collection], Any]


def _is_type(check: Any) -> bool:
    return isinstance(check, type | NewType) or hasattr(check, "__origin__")


def _plain(value: Any) -> Any:
    """What a type made of a value, in JSON's terms again."""
    # By hand, since `msgspec.to_builtins` leaves out the defaults of a dataclass.
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return msgspec.to_builtins(value)


def _by_function(check: Any) -> _Check:
    name = getattr(check, "__name__", type(check).__name__)

    def checked(value: Any, key: str, collection: Collection) -> Any:
        try:
            passes = check(value, key, collection)
        except InvalidValue:
            raise
        except Exception as error:
            why = f"it raised {type(error).__name__}"
            raise InvalidValue(f"{name} refused the value: {why}") from None
        if passes is not None and not passes:
            raise InvalidValue(f"{name} refused the value")
        return value

    return checked


def _by_msgspec(check: Any, *, strict: bool) -> _Check:
    try:
        msgspec.json.Decoder(check)
    except (TypeError, NameError) as error:
        raise ConfigurationError(f"{check!r} is no type that values can be checked by") from error
    name = getattr(check, "__name__", repr(check))

    def checked(value: Any, key: str, collection: Collection) -> Any:
        try:
            return msgspec.convert(value, check, strict=strict)
        except msgspec.ValidationError as error:
            raise InvalidValue(f"the value is not {name}{_told(str(error))}") from None

    return checked


def _told(message: str) -> str:
    """What msgspec says, where its words cannot quote the value: only types and fields."""
    said, _, place = message.partition(" - at ")
    quotes = not said.startswith(("Expected ", "Object missing required field "))
    return (f" at {place.strip('`')}" if place else "") + ("" if quotes else f": {said}")


def _by_pydantic(check: Any) -> tuple[_Check, Callable[[Any], Any]]:
    import pydantic  # here, since whoever has such a class has the package

    adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(check)
    fields = getattr(check, "__pydantic_fields__", {})

    def checked(value: Any, key: str, collection: Collection) -> Any:
        try:
            return adapter.validate_python(value)
        except pydantic.ValidationError as error:
            problems = error.errors(include_url=False, include_input=False, include_context=False)
            # Only names that the model itself gives: others may be part of the value.
            told = sorted(
                f"{problem['loc'][0]} ({problem['type']})"
                for problem in problems
                if problem["loc"] and problem["loc"][0] in fields
            )
            where = f": {', '.join(told)}" if told else ""
            raise InvalidValue(f"the value is not {check.__name__}{where}") from None

    return checked, lambda converted: adapter.dump_python(converted, mode="json")
