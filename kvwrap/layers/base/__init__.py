"""Everything that the author of a layer imports.

Base classes: derive from `Layer` to change some of the thirteen primitives, from `Around` to do
the same around every operation, from `Transform` to change the bytes of entries, from
`Renaming` to map collections and keys to other names, from `Masking` to hide entries, from
`Partitioning` to keep each entry in one of several stores, from `Keeping` to keep records
beside the data.

The rest, in the order of `__all__`: the types in the signatures of the primitives; entries,
expiry and codecs; serializers; second stores; batches; pages of keys; concurrency; checks
of constructor arguments; optional packages; readers of other libraries' entries.
"""

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
from kvwrap.core.changes import (
    ALL,
    LOST,
    Change,
    ChangeKind,
    Listener,
    Scope,
    Subscription,
)
from kvwrap.core.clock import Clock
from kvwrap.core.concurrency import (
    KeyedLocks,
    gather,
    gather_outcomes,
    is_abandoned,
    is_running,
    unfinished,
    wait_for,
)
from kvwrap.core.deadlines import TimeLimit, TimeLimits, time_limit
from kvwrap.core.entry import Entry, expiry_ms, live
from kvwrap.core.figures import Figure, Measured, counter, gauge
from kvwrap.core.findings import Finding
from kvwrap.core.layer import Layer
from kvwrap.core.models import KINDS_OF_MODELS, Mismatch, converter
from kvwrap.core.nested import StoreSource, checked_source, checked_sources
from kvwrap.core.optimistic import touch_by_writing
from kvwrap.core.optional import need
from kvwrap.core.paging import holds_any, pages
from kvwrap.core.part import Part, Passage, leaves_process
from kvwrap.core.peeking import is_peeking, peeking
from kvwrap.core.pickles import unprotected_pickle
from kvwrap.core.primitives import (
    ABSENT,
    CALLS,
    PRIMITIVES,
    Collection,
    Expected,
    KeyRange,
    Origin,
    Page,
    Primitives,
    QualifiedKey,
)
from kvwrap.core.randomness import new_version
from kvwrap.core.serializer import JSON, MsgpackSerializer, Serializer, checked_serializer
from kvwrap.core.stale import UserView, is_stale, stale_part
from kvwrap.core.store import Store
from kvwrap.core.tagging import checked_tags
from kvwrap.core.ttl import LATEST, TTL, checked_ttl
from kvwrap.core.turns import Turns, first_of_equals, in_slices, slices, turn
from kvwrap.core.validation import (
    checked_call,
    checked_collection,
    checked_count,
    checked_errors,
    checked_flag,
    checked_name,
    checked_names,
    checked_number,
    checked_operations,
    checked_place,
    checked_prefix,
    checked_rng,
    checked_seconds,
    checked_share,
    is_reserved,
    matches,
    may_be_reserved,
    suggest,
)
from kvwrap.layers.base.around import Around, Call
from kvwrap.layers.base.keeping import Keeping
from kvwrap.layers.base.legacy_reader import LegacyReader, checked_readers
from kvwrap.layers.base.masking import Masking
from kvwrap.layers.base.partitioning import Partitioning, SubBatch
from kvwrap.layers.base.renaming import Renaming, key_prefix_outside_hashed_keys
from kvwrap.layers.base.transform import Transform

__all__ = [  # noqa: RUF022  # grouped by purpose
    # Base classes, and what their methods take
    "Layer",
    "Around",
    "Call",
    "Transform",
    "Renaming",
    "Masking",
    "Keeping",
    "key_prefix_outside_hashed_keys",
    "Partitioning",
    "SubBatch",
    # The primitives, and the types in their signatures
    "PRIMITIVES",
    "CALLS",
    "Primitives",
    "Collection",
    "QualifiedKey",
    "Expected",
    "ABSENT",
    "KeyRange",
    "Page",
    "Origin",
    # Changes: what is told, and to whom
    "Change",
    "ChangeKind",
    "LOST",
    "ALL",
    "Scope",
    "Listener",
    "Subscription",
    # What a layer states about itself and about its position
    "Capabilities",
    "Capability",
    "Finding",
    "Figure",
    "Measured",
    "counter",
    "gauge",
    "leaves_process",
    "unprotected_pickle",
    "Part",
    "Passage",
    "Store",
    # Entries, expiry and codecs
    "Entry",
    "live",
    "expiry_ms",
    "stale_part",
    "is_stale",
    "UserView",
    "new_version",
    "TTL",
    "LATEST",
    "checked_ttl",
    "Clock",
    "codec",
    "converter",
    # Values and serializers
    "ValueHook",
    "Serializer",
    "JSON",
    "KINDS_OF_MODELS",
    "Mismatch",
    "MsgpackSerializer",
    "checked_serializer",
    # Second stores
    "StoreSource",
    "checked_source",
    "checked_sources",
    # Batches: parts of them, and errors that name the keys that succeeded
    "take",
    "indexes_of",
    "first_of_each",
    "succeeded_flags",
    "add_succeeded",
    "with_callers_names",
    "touch_by_writing",
    # Pages of keys, and reads that are not a use of an entry
    "pages",
    "holds_any",
    "is_peeking",
    "peeking",
    # Concurrency
    "KeyedLocks",
    "TimeLimit",
    "TimeLimits",
    "gather",
    "gather_outcomes",
    "is_abandoned",
    "is_running",
    "time_limit",
    "unfinished",
    "wait_for",
    # Turns of the event loop during long work
    "Turns",
    "slices",
    "first_of_equals",
    "in_slices",
    "turn",
    # Checks of constructor arguments
    "checked_call",
    "checked_collection",
    "checked_count",
    "checked_errors",
    "checked_flag",
    "checked_name",
    "checked_names",
    "checked_number",
    "checked_operations",
    "checked_place",
    "checked_prefix",
    "checked_rng",
    "checked_seconds",
    "checked_share",
    "checked_tags",
    "matches",
    "is_reserved",
    "may_be_reserved",
    "suggest",
    # Optional packages
    "need",
    # Entries that other libraries wrote
    "LegacyReader",
    "checked_readers",
]
