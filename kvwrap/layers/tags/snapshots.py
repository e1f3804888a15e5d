"""Snapshots: the tags of an entry, and their versions when its value was made.

A snapshot is 6 bytes for the whole store, then for each tag 8 bytes that identify it, 6 bytes of
its version, which `invalidate` changes, and 4 bytes of its mark, which `expire` changes. At rest it
is in front of the body, with one byte for the number of tags, so that encryption hides it. A step
of the codec says that it is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.shared_value import share_with
from kvwrap.core.tagging import MOST_TAGS, split_snapshot
from kvwrap.errors import CorruptEntry

STEP: Final = codec.step(codec.OTHER_STEP, codec.fingerprint("kvwrap.tags"))

STEP_LENGTH: Final = len(STEP)
VERSION_BYTES: Final = 6
MARK_BYTES: Final = 4
_ID_BYTES: Final = 8
_TAG_BYTES: Final = _ID_BYTES + VERSION_BYTES + MARK_BYTES

UNTAGGED: Final = bytes(VERSION_BYTES)
"""The snapshot of an entry that was written before the stack had the layer."""


class TagState(NamedTuple):
    """One tag in a snapshot: what identifies it, its version and its mark."""

    id: bytes
    version: bytes
    mark: bytes


def derived_key(secret: bytes) -> bytes:
    """Return the key of the hashes of tags that belongs to a secret."""
    return hashlib.blake2b(secret, digest_size=32, person=b"kvwrap tags").digest()


def tag_id(tag: str, key: bytes) -> bytes:
    """Return what identifies a tag: a hash, keyed with the layer's secret."""
    return hashlib.blake2b(
        tag.encode(), key=key, digest_size=_ID_BYTES, person=b"kvwrap tags"
    ).digest()


def make_snapshot(whole: bytes, tags: Sequence[TagState]) -> bytes:
    """Return the snapshot with this version of the whole store and these tags."""
    return whole + b"".join([part for tag in tags for part in tag])


def whole_version(snapshot: bytes) -> bytes:
    """Return the version of the whole store in a snapshot."""
    return snapshot[:VERSION_BYTES]


def tags_in(snapshot: bytes) -> list[TagState]:
    """Return the tags in a snapshot."""
    tags = []
    for start in range(VERSION_BYTES, len(snapshot), _TAG_BYTES):
        version = start + _ID_BYTES
        mark = version + VERSION_BYTES
        tags.append(
            TagState(
                snapshot[start:version], snapshot[version:mark], snapshot[mark : mark + MARK_BYTES]
            )
        )
    return tags


def ids_in(snapshot: bytes) -> list[bytes]:
    """Return what identifies the tags in a snapshot."""
    return [
        snapshot[start : start + _ID_BYTES]
        for start in range(VERSION_BYTES, len(snapshot), _TAG_BYTES)
    ]


def store_snapshot(entry: Entry, whole: bytes) -> Entry:
    """Return the entry as it is stored: its snapshot, or that of no tags, in front of the body."""
    snapshot, steps = split_snapshot(entry.codec)
    if snapshot is None:
        snapshot = whole
    if snapshot == UNTAGGED:
        return entry.with_body(entry.body, steps)
    count = (len(snapshot) - VERSION_BYTES) // _TAG_BYTES
    return entry.with_body(bytes((count,)) + snapshot + entry.body, STEP + steps)


def snapshot_end(body: bytes) -> int:
    """Return where the snapshot of a stored body ends, if it is whole."""
    return 1 + VERSION_BYTES + _TAG_BYTES * body[0] if body else 0


def stored_snapshot(entry: Entry) -> tuple[bytes, int]:
    """Return the snapshot of a stored entry, and the length of what is in front of its body.

    Raises:
        CorruptEntry: The entry has no whole snapshot where its codec says so.
    """
    steps = entry.codec
    if STEP not in steps or codec.skip_annotations(steps)[:STEP_LENGTH] != STEP:
        return UNTAGGED, 0
    body = entry.body
    end = snapshot_end(body)
    if not body or body[0] > MOST_TAGS or len(body) < end:
        raise CorruptEntry("an entry must have the tags that its codec announces; these are cut")
    return body[1:end], end


def load_snapshot(entry: Entry) -> Entry:
    """Return a stored entry with its snapshot in an annotation; undoes `store_snapshot`."""
    snapshot, end = stored_snapshot(entry)
    front, steps = codec.split_annotations(entry.codec)
    rest = steps[STEP_LENGTH:] if end else steps
    return without_front(entry, end, front + codec.annotation(codec.TAGS, snapshot) + rest)


def without_front(entry: Entry, end: int, steps: bytes) -> Entry:
    """Return a stored entry without what is in front of its body, and with these steps.

    A value that a cache inside keeps decoded is that of the rest of the body, so it stays shared.
    """
    rest = Entry(entry.body[end:], steps, entry.created_at, entry.expires_at, entry.version)
    return rest if type(entry) is Entry else share_with(rest, entry)
