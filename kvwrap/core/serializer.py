"""Values to bytes and back."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from types import NoneType
from typing import Any, Protocol

import msgspec

from kvwrap.core import codec
from kvwrap.core.validation import suggest
from kvwrap.errors import (
    ConfigurationError,
    CorruptEntry,
    DecryptionError,
    KvwrapError,
    SerializationError,
)


class Serializer(Protocol):
    """Turns values into bytes and back; must bring back what it took, or refuse it."""

    @property
    def name(self) -> str:
        """What entries record; reading them needs a serializer of the same name."""

    def dumps(self, value: Any) -> bytes:
        """The value as bytes; raises what it likes for what it cannot bring back."""

    def loads(self, data: bytes) -> Any:
        """The value that `dumps` was given; raises what it likes for anything else."""


class JSONSerializer:
    """JSON in UTF-8, strict: what JSON would bring back as something else is refused.

    Refused are dates, UUIDs, bytes, sets, keys that are not strings, NaN, infinities,
    lone surrogates and instances of subclasses of `str`, `int` and `float` (enums,
    say). Tuples come back as lists, and other mappings as dicts.
    """

    name = "json"

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder().encode
        self.loads = msgspec.json.Decoder().decode

    def dumps(self, value: Any) -> bytes:
        try:
            return self._encode(value if _is_plain(value, None) else _copied(value, None))
        except UnicodeEncodeError:
            raise SerializationError("JSON cannot hold a lone surrogate") from None
        except RecursionError:
            raise SerializationError("the value is nested too deeply, or holds itself") from None


class MsgpackSerializer:
    """MessagePack with the types of JSON and bytes, as strict as `JSONSerializer`.

    Integers must fit 64 bits.
    """

    name = "msgpack"

    def __init__(self) -> None:
        self._encode = msgspec.msgpack.Encoder().encode
        self.loads = msgspec.msgpack.Decoder().decode

    def dumps(self, value: Any) -> bytes:
        try:
            return self._encode(value if _is_plain(value, bytes) else _copied(value, bytes))
        except UnicodeEncodeError:
            raise SerializationError("MessagePack cannot hold a lone surrogate") from None
        except OverflowError:
            raise SerializationError("MessagePack holds integers of at most 64 bits") from None
        except RecursionError:
            raise SerializationError("the value is nested too deeply, or holds itself") from None


class PickleSerializer:
    """Pickle: any Python object, and any code that whoever writes to the backend likes to run.

    Only for backends that nobody else can write to, or under `Encryption`, which
    refuses what was not written with its keys.
    """

    name = "pickle"

    def dumps(self, value: Any) -> bytes:
        return pickle.dumps(value, protocol=5)

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)  # noqa: S301  # asked for by name; see above


class BytesSerializer:
    """Values that are bytes already, kept as they are."""

    name = "bytes"

    def dumps(self, value: Any) -> bytes:
        if isinstance(value, bytes):
            return value
        if isinstance(value, bytearray | memoryview):
            return bytes(value)
        raise SerializationError(
            f"this store's values are bytes, not {type(value).__name__}: add .serialize('json') "
            "to its stack to put other values"
        )

    def loads(self, data: bytes) -> bytes:
        return data


_ATOMS = frozenset({str, int, bool, NoneType})


def _is_plain(value: Any, also: type | None) -> bool:
    """Whether only exact JSON types are in it; False asks for a copy or a refusal."""
    kind = type(value)
    if kind is dict:
        for key in value:
            if type(key) is not str:
                return False
        value = value.values()
    elif kind is not list and kind is not tuple:
        value = (value,)
    for item in value:
        kind = type(item)
        if kind in _ATOMS:
            continue
        if kind is float:
            # NaN and the infinities are what differs from itself by something else than 0.
            if item - item != 0:
                return False
        elif kind is dict or kind is list or kind is tuple:
            if not _is_plain(item, also):
                return False
        elif kind is not also:
            return False
    return True


def _copied(value: Any, also: type | None) -> Any:
    """A copy in exact JSON types, or the refusal."""
    kind = type(value)
    if kind in _ATOMS or kind is also:
        return value
    if kind is float:
        if value - value == 0:
            return value
        raise SerializationError("NaN and infinities are not numbers that JSON has")
    if isinstance(value, Mapping):
        copy = {}
        for key, item in value.items():
            if type(key) is not str:
                raise SerializationError(f"keys of mappings are strings, not {type(key).__name__}")
            copy[key] = _copied(item, also)
        return copy
    if isinstance(value, list | tuple):
        return [_copied(item, also) for item in value]
    raise SerializationError(
        f"{kind.__name__} would come back as something else: convert it, or choose another "
        "serializer"
    )


JSON = JSONSerializer()
_MSGPACK = MsgpackSerializer()
_BYTES = BytesSerializer()
SAFE: Mapping[bytes, Serializer] = {codec.JSON: JSON, codec.MSGPACK: _MSGPACK, codec.BYTES: _BYTES}
"""Serializers whose entries any stack can read: no bytes can make them run code."""

_NAMED: Mapping[str, type[Serializer]] = {
    "json": JSONSerializer,
    "msgpack": MsgpackSerializer,
    "bytes": BytesSerializer,
    "pickle": PickleSerializer,
}
_TAGS = {
    "json": codec.JSON,
    "msgpack": codec.MSGPACK,
    "bytes": codec.BYTES,
    "pickle": codec.PICKLE,
}


def serializer_named(name: str) -> Serializer | None:
    """A serializer of kvwrap by its name, or `None`."""
    made = _NAMED.get(name)
    return None if made is None else made()


def serializer_names() -> list[str]:
    """The names that `serializer_named` knows."""
    return list(_NAMED)


def checked_serializer(serializer: object) -> Serializer:
    """A serializer, given itself or by its name; raises `ConfigurationError` for anything else."""
    if isinstance(serializer, str):
        found = serializer_named(serializer)
        if found is None:
            raise ConfigurationError(
                f"no serializer is called {serializer!r}: {suggest(serializer, serializer_names())}"
            )
        return found
    name = getattr(serializer, "name", None)
    if not isinstance(name, str) or not name:
        raise ConfigurationError(
            f"a serializer has a name, by which its entries are known: {type(serializer).__name__} "
            "has none"
        )
    for method in ("dumps", "loads"):
        if not callable(getattr(serializer, method, None)):
            raise ConfigurationError(
                f"a serializer has the methods dumps and loads: {type(serializer).__name__} has no "
                f"{method}"
            )
    own = serializer_named(name)
    if own is not None and not isinstance(serializer, type(own)):
        raise ConfigurationError(
            f"entries named {name!r} are read by kvwrap's own serializer of this name wherever "
            "this one is not at hand: give yours another name"
        )
    return serializer  # type: ignore[return-value]  # checked piece by piece above


class ValueCodec:
    """Values to bodies and back with one serializer, and whatever else is safe to read."""

    def __init__(self, serializer: Serializer) -> None:
        self.serializer = serializer
        name = serializer.name
        self.tag = _TAGS.get(name) or codec.step(codec.OTHER_SERIALIZER, codec.fingerprint(name))
        self._loads = serializer.loads

    def refusal(self, value: Any, error: Exception) -> KvwrapError:
        """What to raise when the serializer's `dumps` raised this for this value."""
        if isinstance(error, KvwrapError):
            return error
        # The error's text may quote the value, so only its type is told.
        return SerializationError(
            f"the {self.serializer.name} serializer refused a {type(value).__name__} "
            f"({type(error).__name__})"
        )

    def loads(self, body: bytes, steps: bytes) -> Any:
        """The value of a body that has these steps behind it; raises `CorruptEntry`.

        A body without any step is another program's, and in this serializer's format if
        it is of use at all.
        """
        if steps == self.tag or not steps:
            loads = self._loads
        else:
            # Somebody looks into a near store: the value is behind the cache's note.
            if steps.startswith(codec.NEAR_COPY):
                return self.loads(body, steps[len(codec.first_step(steps)) :])
            if steps.startswith(codec.NEAR_MISS):
                return None
            safe = SAFE.get(steps)
            if safe is None:
                kind = DecryptionError if steps[:1] == bytes((codec.ENCRYPTED,)) else CorruptEntry
                raise kind(
                    f"the entry is stored as {codec.describe(steps)}, and this stack reads only "
                    f"{self.serializer.name}: add the layer that wrote it"
                )
            loads = safe.loads
        try:
            return loads(body)
        except RecursionError:
            raise CorruptEntry(
                f"the entry's body is {codec.describe(steps or self.tag)} that is nested more deeply "
                "than Python's recursion limit allows from here: read it from a shallower call"
            ) from None
        except Exception as error:
            raise CorruptEntry(
                f"the entry's body is not {codec.describe(steps or self.tag)} ({type(error).__name__})"
            ) from None
