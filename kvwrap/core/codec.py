"""The codec of an entry: the encoding steps applied to its value, last step first.

A codec is a sequence of steps that ends with the serializer's. A step is one tag byte and
its argument. The three high bits of the tag are the number of argument bytes, so a reader
can skip a step that it does not know. Bytes that another program wrote have an empty codec
when a store opened with `raw=True` reads them: they are in the format of the stack's
serializer.

==== ======== ==================================================================
tag  argument step
==== ======== ==================================================================
`01`          the body is JSON
`02`          the body is MessagePack
`03`          the body is a pickle
`04`          the body is bytes, unchanged
`8F` 4 bytes  another serializer, by the first 4 bytes of the SHA-256 of its name
`10`          compressed with zstd
`11`          compressed with gzip
`12`          compressed with lz4 (frame format)
`13`          compressed with brotli
`90` 4 bytes  compressed with zstd and the dictionary of this id
`98` 4 bytes  encrypted with the key of this id
`9F` 4 bytes  another step, by the first 4 bytes of the SHA-256 of its name
`3F` 1+n bytes an annotation: one byte n, then n bytes, the first of which is its kind
==== ======== ==================================================================

An annotation does not encode the body. It stores a fact about the entry for which the header
has no field. A reader that does not know its kind skips it.

==== ========================================================================
kind annotation
==== ========================================================================
`01` the expiry time sealed with the entry (`kvwrap.layers.encryption`)
`02` the date of a write to replicas (`kvwrap.layers.replication.dates`)
`03` for how long the entry is kept after its ttl (`kvwrap.core.stale`)
`04` a copy in a near store (`kvwrap.layers.read_through.copies`)
`05` a missing key, cached in a near store (the same)
`06` the tags of an entry with their versions, on its way (`kvwrap.core.tagging`)
`7F` another package's: 4 bytes of the SHA-256 of a name, then its data
==== ========================================================================
"""

from __future__ import annotations

import hashlib

JSON = b"\x01"
MSGPACK = b"\x02"
PICKLE = b"\x03"
BYTES = b"\x04"
OTHER_SERIALIZER = 0x8F

ZSTD = b"\x10"
GZIP = b"\x11"
LZ4 = b"\x12"
BROTLI = b"\x13"
ZSTD_DICTIONARY = 0x90
ENCRYPTED = 0x98
OTHER_STEP = 0x9F

ANNOTATION = 0x3F
SEALED_EXPIRY = 0x01
WRITE_DATE = 0x02
STALE_PART = 0x03
NEAR_COPY = 0x04
NEAR_MISS = 0x05
TAGS = 0x06


def fingerprint(name: str) -> bytes:
    """Return the four bytes that identify a name in a codec."""
    return hashlib.sha256(name.encode()).digest()[:4]


def step(tag: int, argument: bytes = b"") -> bytes:
    """Return one step; `tag` and `argument` as in the table above."""
    if tag >> 5 != len(argument):
        raise ValueError(
            f"the argument of step {tag:#04x} must have {tag >> 5} bytes; got {len(argument)}"
        )
    return bytes((tag,)) + argument


def annotation(kind: int, data: bytes = b"") -> bytes:
    """Return one annotation; `kind` as in the table above, `data` of at most 254 bytes."""
    return bytes((ANNOTATION, 1 + len(data), kind)) + data


def first_step(codec: bytes) -> bytes:
    """Return the step that was applied last, which is the first to decode."""
    if not codec:
        return b""
    length = 1 + (codec[0] >> 5)
    if codec[0] == ANNOTATION and len(codec) > 1:
        length += codec[1]
    return codec[:length]


def take_annotation(codec: bytes, kind: int) -> tuple[bytes | None, bytes]:
    """Return the data of an annotation in front of the first other step, and the codec without it.

    Annotations of other kinds stay. Without one of this kind, the data is `None` and the codec
    unchanged.
    """
    start = 0
    while len(codec) > start + 2 and codec[start] == ANNOTATION:
        end = start + 2 + codec[start + 1]
        if codec[start + 2] == kind:
            return codec[start + 3 : end], codec[:start] + codec[end:]
        start = end
    return None, codec


def find_annotation(codec: bytes, kind: int) -> bytes | None:
    """Return the data of the first annotation of this kind, wherever it is in a codec."""
    for part in steps(codec):
        if part[0] == ANNOTATION and part[2:3] == bytes((kind,)):
            return part[3:]
    return None


def split_annotations(codec: bytes) -> tuple[bytes, bytes]:
    """Return the annotations in front of a codec, and the codec from the first other step."""
    rest = codec
    while rest and rest[0] == ANNOTATION:
        rest = rest[len(first_step(rest)) :]
    return codec[: len(codec) - len(rest)], rest


def skip_annotations(codec: bytes) -> bytes:
    """Return the codec from its first step that encodes the body."""
    return split_annotations(codec)[1]


def same_form(one: bytes, other: bytes) -> bool:
    """Return True if two codecs have the same steps, wherever their annotations stand."""
    return one == other or (len(one) == len(other) and _form(one) == _form(other))


def _form(codec: bytes) -> tuple[list[bytes], list[bytes]]:
    parts = steps(codec)
    annotations = sorted(part for part in parts if part[0] == ANNOTATION)
    return annotations, [part for part in parts if part[0] != ANNOTATION]


def steps(codec: bytes) -> list[bytes]:
    """Return all steps of a codec, the one applied last first."""
    parts = []
    while codec:
        parts.append(first_step(codec))
        codec = codec[len(parts[-1]) :]
    return parts


def is_bare(codec: bytes) -> bool:
    """Return True if the codec is a serializer's step alone: other programs can read the body."""
    return codec == first_step(codec) and (codec[:1] <= b"\x0f" or codec[0] == OTHER_SERIALIZER)


def describe(codec: bytes) -> str:
    """Return the names of the steps, for the text of an error."""
    return " over ".join(_name(part) for part in steps(codec)) or "nothing"


def _name(part: bytes) -> str:
    argument = part[1:].hex()
    match part[0]:
        case 0x01:
            return "JSON"
        case 0x02:
            return "MessagePack"
        case 0x03:
            return "a pickle"
        case 0x04:
            return "bytes"
        case 0x10:
            return "zstd"
        case 0x11:
            return "gzip"
        case 0x12:
            return "lz4"
        case 0x13:
            return "brotli"
        case 0x90:
            return f"zstd with dictionary {argument}"
        case 0x98:
            return f"encryption with key id {argument}"
        case 0x3F:
            return f"annotation {part[2:3].hex()}"
        case tag:
            return f"step {tag:#04x} {argument}".rstrip()
