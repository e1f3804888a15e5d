"""Models: conversion between their instances and JSON values, by the library of the model."""

from __future__ import annotations

import contextlib
import re
import sys
import typing
from abc import ABC, abstractmethod
from dataclasses import fields, is_dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    import pydantic

T = TypeVar("T")

KINDS_OF_MODELS = (
    "a pydantic model, a dataclass, a msgspec struct, a TypedDict, a type that JSON can represent "
    "such as datetime or set[int], or a type made of one of these, such as list[User]"
)
"""The types that are models, for messages."""


class Mismatch(Exception):
    """A value is not of the model; the text has the field and the problem, never the value."""


class Converter(ABC, Generic[T]):
    """Converts between instances of a model and JSON values. All methods raise `Mismatch`.

    Attributes:
        name: The name of the model, for messages.
    """

    def __init__(self, model: Any) -> None:
        self.name = getattr(model, "__name__", repr(model))
        self._model = model
        self._class = _class_of(model)

    def dump(self, instance: T) -> Any:
        """Return the JSON value of an instance, which has been checked to load again."""
        if self._class is not None and not isinstance(instance, self._class):
            raise Mismatch(f"expected {self._class.__name__}, got {type(instance).__name__}")
        value = self._dump(instance)
        self.load(value)
        return value

    @abstractmethod
    def _dump(self, instance: T) -> Any: ...

    @abstractmethod
    def load(self, value: Any) -> T:
        """Return the instance of a JSON value."""

    @abstractmethod
    def check(self, value: Any) -> T:
        """Return the instance of a value, which may also be an instance already."""

    @abstractmethod
    def complete(self, value: Any) -> Any:
        """Return the JSON value of the instance of a value: converted, with all defaults."""


def converter(model: Any, *, strict: bool = True, any_class: bool = False) -> Converter[Any]:
    """Return the converter of a model.

    Args:
        model: The model, one of `KINDS_OF_MODELS`.
        strict: False lets msgspec read numbers from strings. Pydantic models have a setting of
            their own.
        any_class: True accepts every class, even if it is no model; a value must then be an
            instance of it.

    Raises:
        TypeError: `model` is not a model.
    """
    if _is_pydantic(model):
        return _PydanticConverter(model)
    try:
        if any_class:
            msgspec.json.Decoder(model)
        else:
            msgspec.json.schema(model)
    except (TypeError, RuntimeError) as error:
        raise TypeError(f"{model!r} is not a model") from error
    return _MsgspecConverter(model, strict)


class _PydanticConverter(Converter[T]):
    def __init__(self, model: Any) -> None:
        import pydantic  # an optional package, which is installed where such a model exists

        super().__init__(model)
        self._adapter: pydantic.TypeAdapter[T] = pydantic.TypeAdapter(model)
        self._invalid = pydantic.ValidationError
        self._misuse = pydantic.PydanticUserError

    def _dump(self, instance: T) -> Any:
        try:
            return self._adapter.dump_python(
                instance, mode="json", by_alias=True, round_trip=True, warnings="error"
            )
        except self._misuse:
            raise
        except ValueError as error:
            raise Mismatch(f"{type(instance).__name__} cannot be converted to JSON") from error

    def load(self, value: Any) -> T:
        try:
            # As JSON, because strict models read a date from a string in JSON only.
            return self._adapter.validate_json(msgspec.json.encode(value))
        except self._invalid as error:
            raise self._mismatch(error) from None
        except TypeError:
            raise Mismatch(f"expected JSON, got {type(value).__name__}") from None
        except self._misuse:
            raise
        except Exception as error:
            raise _of_the_model(error) from None

    def check(self, value: Any) -> T:
        try:
            return self._adapter.validate_python(value)
        except self._invalid as error:
            raise self._mismatch(error) from None
        except self._misuse:
            raise
        except Exception as error:
            raise _of_the_model(error) from None

    def complete(self, value: Any) -> Any:
        return self._adapter.dump_python(self.check(value), mode="json")

    def _mismatch(self, error: pydantic.ValidationError) -> Mismatch:
        # Types of errors and names of fields only: pydantic's own text quotes the value.
        problems: dict[str, None] = {}
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            path = ".".join(
                str(step) if step in self._field_names else "[...]" for step in problem["loc"]
            )
            problems[f"{problem['type']} at `{path}`" if path else problem["type"]] = None
        return Mismatch(", ".join(problems))

    @cached_property
    def _field_names(self) -> set[object]:
        """Names of the fields; anything else in a location may be part of the value."""
        names: set[object] = set(getattr(self._model, "__pydantic_fields__", ()))
        with contextlib.suppress(Exception):  # a model need not have a schema
            parts: list[Any] = [self._adapter.json_schema()]
            while parts:
                part = parts.pop()
                if isinstance(part, dict):
                    properties = part.get("properties")
                    names.update(properties if isinstance(properties, dict) else ())
                    parts.extend(part.values())
                elif isinstance(part, list):
                    parts.extend(part)
        return names


class _MsgspecConverter(Converter[T]):
    def __init__(self, model: Any, strict: bool) -> None:
        super().__init__(model)
        self._strict = strict

    def _dump(self, instance: T) -> Any:
        try:
            return msgspec.to_builtins(instance, str_keys=True)
        except (TypeError, ValueError, RecursionError):
            raise Mismatch(f"{type(instance).__name__} cannot be converted to JSON") from None

    # `load` and `check` do not share a function, because a call is a third of the time of `check`.

    def load(self, value: Any) -> T:
        try:
            instance: T = msgspec.convert(value, self._model, strict=self._strict, str_keys=True)
        except msgspec.ValidationError as error:
            raise Mismatch(_without_values(error)) from None
        except Exception as error:
            raise _of_the_model(error) from None
        return instance

    def check(self, value: Any) -> T:
        try:
            instance: T = msgspec.convert(value, self._model, strict=self._strict)
        except msgspec.ValidationError as error:
            raise Mismatch(_without_values(error)) from None
        except Exception as error:
            raise _of_the_model(error) from None
        return instance

    def complete(self, value: Any) -> Any:
        return _to_json(self.check(value))


def _of_the_model(error: Exception) -> Mismatch:
    """Return the mismatch for an error of the model's own code, such as `__post_init__`.

    Its text may quote the value, so neither it nor the error is shown.
    """
    return Mismatch(f"the model's own code raised {type(error).__name__}")


_SAFE = ("Expected `", "Object missing required field `")
"""Beginnings of those texts of msgspec that quote types and fields only; others quote values."""
_PATH = re.compile(r" - at ((?:`key` in )?`\$[^`]*`)$")


def _without_values(error: msgspec.ValidationError) -> str:
    text = str(error)
    path = _PATH.search(text)
    # An exception of the model's own code, such as __post_init__, is the cause of msgspec's.
    safe = text.startswith(_SAFE) and error.__cause__ is None
    problem = text.removesuffix(path[0] if path else "") if safe else "invalid value"
    return f"{problem[0].lower()}{problem[1:]}" + (f" at {path[1]}" if path else "")


def _to_json(value: Any) -> Any:
    # Recursion in Python, because `msgspec.to_builtins` omits the defaults of a dataclass.
    if is_dataclass(value):
        return {field.name: _to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    return msgspec.to_builtins(value)


def _is_pydantic(model: Any) -> bool:
    # Its models and dataclasses have its validator. No class has one before it is imported.
    if "pydantic" not in sys.modules:
        return False
    parts = typing.get_args(model)
    return hasattr(model, "__pydantic_validator__") or any(map(_is_pydantic, parts))


def _class_of(model: Any) -> type | None:
    """Return the class that instances must have, if the model is a class."""
    if is_dataclass(model) or hasattr(model, "__struct_fields__"):
        return model if isinstance(model, type) else None
    return model if isinstance(model, type) and hasattr(model, "__pydantic_validator__") else None
