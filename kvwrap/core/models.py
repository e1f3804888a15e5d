"""Model instances to plain values and back, by whichever library the model is of."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import msgspec

from kvwrap.errors import ConfigurationError

if TYPE_CHECKING:
    import pydantic

T = TypeVar("T")


class Mismatch(Exception):
    """A value is not of the model; says where and how, and never the value."""


class Converter(NamedTuple, Generic[T]):
    """The two directions of a model; both raise `Mismatch`.

    Attributes:
        plain: The JSON value of an instance.
        model: The instance of a JSON value.
    """

    plain: Callable[[T], Any]
    model: Callable[[Any], T]


def converter(model: type[T]) -> Converter[T]:
    """How instances of this model become plain values.

    Raises:
        ConfigurationError: It is no model of a known kind.
    """
    if _is_pydantic(model):
        return _by_pydantic(model)
    try:
        msgspec.json.schema(model)
    except (TypeError, RuntimeError):
        raise ConfigurationError(
            f"{model!r} is no model: pydantic models, dataclasses, msgspec structs, TypedDicts "
            "and types made of one kind of them are"
        ) from None
    return _by_msgspec(model)


def _is_pydantic(model: Any) -> bool:
    # Its own classes and dataclasses carry its validator; nothing does where it is not loaded.
    if "pydantic" not in sys.modules:
        return False
    parts = typing.get_args(model)
    return hasattr(model, "__pydantic_validator__") or any(map(_is_pydantic, parts))


def _by_pydantic(model: type[T]) -> Converter[T]:
    import pydantic

    adapter = pydantic.TypeAdapter(model)
    instances = _instances(model)

    def plain(value: T) -> Any:
        _check_instance(value, instances)
        try:
            dumped = adapter.dump_python(
                value, mode="json", by_alias=True, round_trip=True, warnings="error"
            )
        except pydantic.PydanticUserError:
            raise
        except ValueError as error:
            raise Mismatch(f"{type(value).__name__} cannot be turned into JSON") from error
        load(dumped)
        return dumped

    def load(value: Any) -> T:
        try:
            # As JSON, since strict models take a date from a string there, and only there.
            return adapter.validate_json(msgspec.json.encode(value))
        except pydantic.ValidationError as error:
            # Locations and kinds only: pydantic's own text quotes the value.
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            known = _names(adapter)
            place = ".".join(str(step) if step in known else "[...]" for step in first["loc"])
            raise Mismatch(f"{place or 'the value'}: {first['type'].replace('_', ' ')}") from None
        except TypeError:
            raise Mismatch(f"the value is {type(value).__name__}, not JSON") from None

    return Converter(plain, load)


def _names(adapter: pydantic.TypeAdapter[Any]) -> set[str]:
    """The names of the fields; what else stands in a location may come from the value."""
    found: set[str] = set()
    with contextlib.suppress(Exception):  # a model need not have a schema
        parts: list[Any] = [adapter.json_schema()]
        while parts:
            part = parts.pop()
            if isinstance(part, dict):
                properties = part.get("properties")
                found.update(properties if isinstance(properties, dict) else ())
                parts.extend(part.values())
            elif isinstance(part, list):
                parts.extend(part)
    return found


def _by_msgspec(model: type[T]) -> Converter[T]:
    instances = _instances(model)

    def plain(value: T) -> Any:
        _check_instance(value, instances)
        try:
            dumped = msgspec.to_builtins(value, str_keys=True)
        except (TypeError, ValueError, RecursionError):
            raise Mismatch(f"{type(value).__name__} cannot be turned into JSON") from None
        load(dumped)
        return dumped

    def load(value: Any) -> T:
        try:
            return msgspec.convert(value, model, str_keys=True)
        except msgspec.ValidationError as error:
            raise Mismatch(_without_values(str(error))) from None

    return Converter(plain, load)


def _without_values(text: str) -> str:
    # "Expected `int`, got `str` - at `$.age`" quotes types only; other texts may quote values.
    what, _, place = text.partition(" - at ")
    what = what if what.startswith(("Expected", "Object missing", "Object contains")) else "invalid"
    return f"{place.strip('`')}: {what}" if place else what


def _instances(model: Any) -> type | None:
    """The class that values are instances of, where the type says so."""
    if dataclasses.is_dataclass(model) or hasattr(model, "__struct_fields__"):
        return model if isinstance(model, type) else None
    return model if isinstance(model, type) and hasattr(model, "__pydantic_validator__") else None


def _check_instance(value: Any, wanted: type | None) -> None:
    if wanted is not None and not isinstance(value, wanted):
        raise Mismatch(f"expected {wanted.__name__}, got {type(value).__name__}")
