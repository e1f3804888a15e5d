"""Tags of entries: how they go from the methods of a store to the layer that keeps them.

The layer `kvwrap.layers.tags` knows the versions of tags. A *snapshot* says which tags an entry
has and which versions they had. It is taken before the value is known, and goes with the entry in
an annotation of its codec, through all layers in between.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence, Set
from typing import Any, Final, Protocol

from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.validation import is_name
from kvwrap.errors import ConfigurationError, UnsupportedOperation

TagsOf = Sequence[str] | Callable[[Any], Sequence[str]]
"""Tags, or a function that returns those of a value."""

MOST_TAGS: Final = 10
"""Tags of one entry, whose snapshot has to fit into the codec."""


class Tagging(Protocol):
    """What a store needs of the layer that keeps tags."""

    @property
    def changes(self) -> int:
        """Number of changes of tags that were made through this layer, or told to it."""

    def may_join(self, began: float, came: float) -> bool:
        """Return True if a caller that came at some time may get what was begun before.

        Args:
            began: When the computation began, by `Clock.monotonic`; no tag was told to have changed
                since.
            came: When the caller came.
        """

    async def snapshot_of(self, tags: Sequence[str]) -> bytes:
        """Return a snapshot of these tags, for a value that is made from now on."""

    async def moment(self) -> bytes:
        """Return what `snapshots_since` compares, before a value is made whose tags follow."""

    async def snapshots_since(
        self, tags: Sequence[Sequence[str]], moment: bytes
    ) -> list[bytes] | None:
        """Return snapshots of the tags of several entries; `None` if any tag has changed since."""


def checked_tags(tags: Any, *, most: int | None = MOST_TAGS) -> tuple[str, ...]:
    """Return tags, each once and in order; raises `ConfigurationError` for what is not tags.

    Args:
        tags: The tags.
        most: How many there may be; `None` for any number.
    """
    # The exact types first, since to look for an abstract one takes longer than a put.
    if type(tags) not in (list, tuple, set, frozenset) and (
        isinstance(tags, str | bytes) or not isinstance(tags, Sequence | Set)
    ):
        raise ConfigurationError(f"`tags` must be a list of names such as ['user:1']; got {tags!r}")
    for tag in tags:
        if not is_name(tag):
            raise ConfigurationError(
                f"a tag must be a text of valid Unicode that is not empty; got {tag!r}"
            )
    unique = tuple(sorted(set(tags)))
    if most is not None and len(unique) > most:
        raise ConfigurationError(
            f"an entry must have at most {most} tags; got {len(unique)}: use one for what "
            "changes together"
        )
    return unique


def checked_tags_of(tags: Any) -> Any:
    """Return tags, checked, or a function that returns them; `None` as it is."""
    if tags is None:
        return None
    if not callable(tags):
        return checked_tags(tags)
    if inspect.iscoroutinefunction(tags):
        raise ConfigurationError(f"`tags` must not be async; got {tags!r}")
    return tags


def without_tagging(store: str) -> UnsupportedOperation:
    """Return the error for tags where no layer keeps them."""
    return UnsupportedOperation(
        "`tags` needs the layer that keeps them: add .tags() to the stack, without only_read=True",
        store=store,
    )


def with_snapshot(entry: Entry, snapshot: bytes) -> Entry:
    """Return the entry with a snapshot, instead of one that it has."""
    steps = codec.annotation(codec.TAGS, snapshot) + split_snapshot(entry.codec)[1]
    return entry.with_body(entry.body, steps)


def split_snapshot(steps: bytes) -> tuple[bytes | None, bytes]:
    """Return the snapshot in a codec, wherever it stands, and the codec without it."""
    if _MARK not in steps:
        return None, steps
    if steps[:1] == _MARK and steps[2:3] == _KIND:  # as `with_snapshot` puts it
        end = 2 + steps[1]
        return steps[3:end], steps[end:]
    snapshot, rest = None, []
    for part in codec.steps(steps):
        if part[0] == codec.ANNOTATION and part[2:3] == _KIND:
            snapshot = part[3:]
        else:
            rest.append(part)
    return snapshot, b"".join(rest)


_MARK: Final = bytes((codec.ANNOTATION,))
_KIND: Final = bytes((codec.TAGS,))
