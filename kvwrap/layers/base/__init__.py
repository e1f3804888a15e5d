"""Everything that the author of a layer imports."""

from __future__ import annotations

from kvwrap.core import codec
from kvwrap.core.basic import ValueHook
from kvwrap.core.batch import (
    add_succeeded,
    first_of_each,
    indexes_of,
    succeeded_flags,
    take,
    with_callers_names,
)
from kvwrap.core.capability import Capabilities, Capability
from kvwrap.core.clock import Clock
from kvwrap.core.concurrency import KeyedLocks, gather
from kvwrap.core.entry import Entry, live
from kvwrap.core.findings import Finding
from kvwrap.core.layer import Layer
from kvwrap.core.nested import StoreSource, checked_source, checked_sources
from kvwrap.core.optimistic import touch_by_writing
from kvwrap.core.optional import need
from kvwrap.core.paging import holds_any, pages
from kvwrap.core.part import Part
from kvwrap.core.primitives import (
    ABSENT,
    PRIMITIVES,
    Collection,
    Expected,
    KeyRange,
    Page,
    Primitives,
    QualifiedKey,
)
from kvwrap.core.serializer import JSON, MsgpackSerializer, Serializer, checked_serializer
from kvwrap.core.store import Store
from kvwrap.core.ttl import LATEST, TTL, checked_ttl
from kvwrap.core.validation import (
    checked_call,
    checked_count,
    checked_errors,
    checked_flag,
    checked_name,
    checked_names,
    checked_number,
    checked_operations,
    checked_rng,
    checked_seconds,
    checked_share,
    matches,
)
from kvwrap.layers.base.around import Around, Call
from kvwrap.layers.base.legacy_reader import LegacyReader, checked_readers
from kvwrap.layers.base.partitioning import Partitioning, SubBatch
from kvwrap.layers.base.renaming import Renaming, checked_prefix, key_prefix_outside_hashed_keys
from kvwrap.layers.base.transform import Transform

__all__ = [
    "ABSENT",
    "JSON",
    "LATEST",
    "PRIMITIVES",
    "TTL",
    "Around",
    "Call",
    "Capabilities",
    "Capability",
    "Clock",
    "Collection",
    "Entry",
    "Expected",
    "Finding",
    "KeyRange",
    "KeyedLocks",
    "Layer",
    "LegacyReader",
    "MsgpackSerializer",
    "Page",
    "Part",
    "Partitioning",
    "Primitives",
    "QualifiedKey",
    "Renaming",
    "Serializer",
    "Store",
    "StoreSource",
    "SubBatch",
    "Transform",
    "ValueHook",
    "add_succeeded",
    "checked_call",
    "checked_count",
    "checked_errors",
    "checked_flag",
    "checked_name",
    "checked_names",
    "checked_number",
    "checked_operations",
    "checked_prefix",
    "checked_readers",
    "checked_rng",
    "checked_seconds",
    "checked_serializer",
    "checked_share",
    "checked_source",
    "checked_sources",
    "checked_ttl",
    "codec",
    "key_prefix_outside_hashed_keys",
    "first_of_each",
    "gather",
    "holds_any",
    "indexes_of",
    "live",
    "matches",
    "need",
    "pages",
    "succeeded_flags",
    "take",
    "touch_by_writing",
    "with_callers_names",
]
