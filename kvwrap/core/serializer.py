"""Serializers: values to bytes and back."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec
import orjson
import ormsgpack

from kvwrap.core import codec
from kvwrap.core.json_types import (
    DEEPEST,
    NotPlain,
    find_path,
    is_flat,
    is_plain,
    to_plain,
    type_name,
)
from kvwrap.core.validation import suggest
from kvwrap.errors import (
    ConfigurationError,
    CorruptEntry,
    DecryptionError,
    KvwrapError,
    SerializationError,
)


class Serializer(Protocol):
    """Converts values to bytes and back; must return them unchanged, or refuse them."""

    @property
    def name(self) -> str:
        """The name that entries record; reading them needs a serializer of the same name."""

    def dumps(self, value: Any) -> bytes:
        """Return the value as bytes; may raise anything for a value it cannot return unchanged."""

    def loads(self, data: bytes) -> Any:
        """Return the value that `dumps` was given; may raise anything for other bytes."""


# Only values of exact types are accepted by both encoders. With these options, what orjson would
# still convert (enums, UUIDs, fragments) ormsgpack refuses, and what ormsgpack would convert
# (bytes, fragments and extension types of its own) orjson refuses. ormsgpack comes first: orjson
# reads the attribute `value` of an enum, and crashes if that raises.
_STRICT_JSON = (
    orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)
_STRICT_MSGPACK = (
    ormsgpack.OPT_PASSTHROUGH_BIG_INT
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_UUID
)
"""Refuse what is not of an exact type: without a default, what is passed through is an error."""
_FLOAT = 0xCB
_HIGH = (0x7F, 0xFF)
"""The first byte of a float in MessagePack whose exponent has only ones, by its sign."""
_FEW = 8
_find_infinite = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]").search


def _may_be_infinite(packed: bytes) -> bool:
    """Return False if no float in this MessagePack is NaN or infinite.

    True is not certain: other values may contain the same bytes.
    """
    if _FLOAT not in packed or (0x7F not in packed and 0xFF not in packed):
        return False
    # To look at a few candidates takes a fifth of the time of a search with an expression.
    for high in _HIGH:
        at = 0
        for _ in range(_FEW):
            at = packed.find(high, at + 1)
            if at < 0:
                break
            if packed[at - 1] == _FLOAT:
                return True
        else:
            return _find_infinite(packed) is not None
    return False


class JSONSerializer:
    """JSON in UTF-8, strict: values that JSON would return changed are refused.

    Refused are dates, UUIDs, bytes, sets, keys that are not strings, NaN, infinities,
    lone surrogates and instances of subclasses of `str`, `int` and `float`, such as enums.
    Tuples load as lists, and other mappings as dicts.
    """

    name = "json"

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder().encode
        self.loads = msgspec.json.Decoder().decode

    def dumps(self, value: Any) -> bytes:
        try:
            if is_flat(value):
                return self._encode(value)
            # The packed value is dropped at once: its memory is then used for the JSON.
            if not _may_be_infinite(ormsgpack.packb(value, None, _STRICT_MSGPACK)):
                # A copy of its exact size: the encoder's own occupies 4 KB for any small value.
                return b"%b" % orjson.dumps(value, None, _STRICT_JSON)
        except (TypeError, UnicodeEncodeError):
            pass  # rare, or refused
        return self._dumps_checked(value)

    def dumps_several(self, values: list[Any]) -> list[bytes] | None:
        """Return what `dumps` returns for each of a few values, in less than half of the time.

        Returns None if they are not all of the usual types.
        """
        try:
            if not _may_be_infinite(ormsgpack.packb(values, None, _STRICT_MSGPACK)):
                return [b"%b" % orjson.dumps(value, None, _STRICT_JSON) for value in values]
        except (TypeError, UnicodeEncodeError):
            pass
        return None

    def _dumps_checked(self, value: Any) -> bytes:
        """Encode what only the check in Python accepts or refuses, and names."""
        try:
            return self._encode(value if is_plain(value, None) else to_plain(value, None))
        except (NotPlain, UnicodeEncodeError, RecursionError) as error:
            raise _refusal("JSON", value, error) from None


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
            if is_flat(value):
                return self._encode(value)
            packed = ormsgpack.packb(value, None, _STRICT_MSGPACK)
            if not _may_be_infinite(packed):
                orjson.dumps(value, None, _STRICT_JSON)
                return b"%b" % packed  # as above
        except (TypeError, UnicodeEncodeError, OverflowError):
            pass  # rare, such as bytes, or refused
        return self._dumps_checked(value)

    def _dumps_checked(self, value: Any) -> bytes:
        """Encode what only the check in Python accepts or refuses, and names."""
        try:
            return self._encode(value if is_plain(value, bytes) else to_plain(value, bytes))
        except (NotPlain, UnicodeEncodeError, OverflowError, RecursionError) as error:
            raise _refusal("MessagePack", value, error) from None


def _refusal(title: str, value: Any, error: Exception) -> SerializationError:
    """Return the error for a value that the format cannot store; it shows no value."""
    if isinstance(error, NotPlain):
        problem = f"`{error.path}` {error.problem}, which {title} would not return unchanged"
        return SerializationError(f"{problem}: {error.hint}")
    if isinstance(error, UnicodeEncodeError):
        path = find_path(value, _has_surrogate)
        return SerializationError(
            f"`{path}` has a lone surrogate, which {title} cannot store: replace it, as "
            "text.encode(errors='replace').decode() does"
        )
    if isinstance(error, OverflowError):
        path = find_path(value, _is_over_64_bits)
        return SerializationError(
            f"`{path}` is an integer over 64 bits, which {title} cannot store: "
            "use .serialize('json'), or a str"
        )
    return SerializationError(
        f"the value is nested too deeply, in more than {DEEPEST} levels, or contains itself"
    )


def _has_surrogate(item: object) -> bool:
    return isinstance(item, str) and any("\ud800" <= char <= "\udfff" for char in item)


def _is_over_64_bits(item: object) -> bool:
    return type(item) is int and not -(2**63) <= item < 2**64


class PickleSerializer:
    """Pickle: any Python object. Anyone who can write to the backend can run code in a reader.

    Use it only for backends that nobody else can write to, or under `Encryption`, which
    refuses entries that were not written with its keys.
    """

    name = "pickle"

    def dumps(self, value: Any) -> bytes:
        return pickle.dumps(value, protocol=5)

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)  # noqa: S301  # requested by name; see above


class BytesSerializer:
    """Values that are bytes already, stored unchanged."""

    name = "bytes"

    def dumps(self, value: Any) -> bytes:
        if isinstance(value, bytes):
            return value
        if isinstance(value, bytearray | memoryview):
            return bytes(value)
        raise SerializationError(
            f"the values of this store must be bytes; got {type_name(value)}: to put other "
            "values, add .serialize('json') to the stack"
        )

    def loads(self, data: bytes) -> bytes:
        return data


JSON = JSONSerializer()
"""The default serializer."""
_MSGPACK = MsgpackSerializer()
_BYTES = BytesSerializer()
SAFE: Mapping[bytes, Serializer] = {codec.JSON: JSON, codec.MSGPACK: _MSGPACK, codec.BYTES: _BYTES}
"""Serializers whose entries any stack can read: they run no code from the stored bytes."""

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
    """Return the serializer of kvwrap with this name, or `None`."""
    cls = _NAMED.get(name)
    return None if cls is None else cls()


def serializer_names() -> list[str]:
    """Return the names that `serializer_named` knows."""
    return list(_NAMED)


def checked_serializer(serializer: object) -> Serializer:
    """Return a serializer, given as an object or by its name.

    Raises:
        ConfigurationError: No serializer has this name, or the object is not a serializer.
    """
    if isinstance(serializer, str):
        named = serializer_named(serializer)
        if named is None:
            raise ConfigurationError(
                f"no serializer is called {serializer!r}: {suggest(serializer, serializer_names())}"
            )
        return named
    name = getattr(serializer, "name", None)
    if not isinstance(name, str) or not name:
        raise ConfigurationError(
            "a serializer must have a `name`, a non-empty str that its entries record; "
            f"{type(serializer).__name__} has none"
        )
    for method in ("dumps", "loads"):
        if not callable(getattr(serializer, method, None)):
            raise ConfigurationError(
                "a serializer must have the methods dumps and loads; "
                f"{type(serializer).__name__} has no {method}"
            )
    own = serializer_named(name)
    if own is not None and not isinstance(serializer, type(own)):
        raise ConfigurationError(
            f"the serializer name {name!r} is reserved: where {type(serializer).__name__} is "
            "missing, kvwrap's own serializer of this name would read its entries. "
            "Give yours another name"
        )
    return serializer  # type: ignore[return-value]  # checked attribute by attribute above


_LAYERS = {
    codec.ENCRYPTED: ".encrypt(keyring)",
    codec.ZSTD_DICTIONARY: ".compress(dictionaries=True)",
    codec.ZSTD[0]: ".compress()",
    codec.GZIP[0]: ".compress(accept=['gzip'])",
    codec.LZ4[0]: ".compress(accept=['lz4'])",
    codec.BROTLI[0]: ".compress(accept=['brotli'])",
    codec.PICKLE[0]: ".serialize('pickle')",
}
"""The layer that writes a step, by the tag of the step."""


def _layer_hint(steps: bytes) -> str:
    layer = _LAYERS.get(steps[0])
    return f", {layer}" if layer else ""


_OF_CODE = (AttributeError, ImportError, MemoryError, NameError, NotImplementedError)
"""Errors whose text names code and types, never a value."""


def _tag_of(name: str) -> bytes:
    """Return the step of a codec that tells the serializer of this name."""
    return _TAGS.get(name) or codec.step(codec.OTHER_SERIALIZER, codec.fingerprint(name))


class ValueCodec:
    """Converts values to bodies and back with one serializer; also reads the `SAFE` formats."""

    def __init__(self, serializer: Serializer) -> None:
        self.serializer = serializer
        self.tag = _tag_of(serializer.name)
        self._loads = serializer.loads
        self._others = SAFE

    def accept(self, serializers: Iterable[Serializer]) -> None:
        """Read what these have written, too."""
        self._others = {**self._others, **{_tag_of(each.name): each for each in serializers}}

    def dumps_several(self, values: list[Any]) -> list[bytes] | None:
        """Return the bodies of a few values; None if each must be serialized on its own."""
        if type(self.serializer) is JSONSerializer:  # a subclass may have other `dumps`
            return self.serializer.dumps_several(values)
        return None

    def refusal(self, value: Any, error: Exception) -> KvwrapError:
        """Return the error to raise after the serializer's `dumps` raised `error`.

        The serializer's error is its cause where its text cannot quote the value; otherwise only
        its type is shown.
        """
        if isinstance(error, KvwrapError):
            return error
        refusal = SerializationError(
            f"the {self.serializer.name} serializer refused a value of type "
            f"{type_name(value)} ({type(error).__name__})"
        )
        refusal.__cause__ = error if type(error) in _OF_CODE else None
        return refusal

    def loads(self, body: bytes, steps: bytes) -> Any:
        """Return the value of a body that these steps encoded; raises `CorruptEntry`.

        A body without any step was written by another program, and is read as this
        serializer's format.
        """
        if steps == self.tag or not steps:
            loads = self._loads
        else:
            if steps[0] == codec.ANNOTATION:
                # Another layer's: its store is read directly, as a near store may be.
                return self.loads(body, codec.skip_annotations(steps))
            other = self._others.get(steps)
            if other is None:
                kind = DecryptionError if steps[:1] == bytes((codec.ENCRYPTED,)) else CorruptEntry
                raise kind(
                    f"the entry is stored as {codec.describe(steps)}, and this stack reads only "
                    f"{self.serializer.name}: add the layer that wrote it{_layer_hint(steps)}"
                )
            loads = other.loads
        try:
            return loads(body)
        except Exception as error:
            raise self.unreadable(error, steps) from None

    def unreadable(self, error: Exception, steps: bytes) -> CorruptEntry:
        """Return the error to raise after a serializer's `loads` raised `error`."""
        if isinstance(error, RecursionError):
            return CorruptEntry(
                f"the entry's body is {codec.describe(steps or self.tag)} that is nested more "
                "deeply than Python's recursion limit allows from here: read it with fewer calls "
                "on the stack"
            )
        return CorruptEntry(
            f"the entry's body is not valid {codec.describe(steps or self.tag)} "
            f"({type(error).__name__})"
        )
