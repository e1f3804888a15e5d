"""Writes and deletions, each atomic for its key: what to send, given what is stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from kvwrap.core.optimistic import backoff
from kvwrap.core.primitives import ABSENT, Expected
from kvwrap.stores.elasticsearch.index import Action, Found, Index
from kvwrap.stores.elasticsearch.requests import Refused

_CONFLICT = 409
_NOT_FOUND = 404


class Change(Protocol):
    """A change of one document."""

    @property
    def document_id(self) -> str:
        """The `_id` of the document."""

    def at_once(self) -> Action | None:
        """Return an action for a document of which nothing is known, or None to find it first."""

    def decide(self, found: Found | None) -> Action | bool:
        """Return the action for a document, or the result if there is nothing to do."""


@dataclass(frozen=True, slots=True)
class Write:
    """Writes a document under a condition.

    Attributes:
        document_id: Its `_id`.
        document: Its content.
        version: The version of its entry.
        condition: The condition.
        now: The time in Unix milliseconds.
    """

    document_id: str
    document: bytes
    version: int
    condition: Expected
    now: float

    def at_once(self) -> Action | None:
        if self.condition is None:
            return Action.put(self.document_id, self.document)
        if self.condition is ABSENT:
            return Action.create(self.document_id, self.document)
        return None

    def decide(self, found: Found | None) -> Action | bool:
        if found is None:
            return self.condition is ABSENT and Action.create(self.document_id, self.document)
        if not found.head.allows(self.condition, self.version, self.now):
            return False
        if found.head.version == self.version != self.condition:
            # Stored already, by this call or by one whose answer was lost.
            return True
        return Action.replace(self.document_id, self.document, found)


@dataclass(frozen=True, slots=True)
class Removal:
    """Deletes a document that has not expired, under a condition. Attributes as for `Write`."""

    document_id: str
    condition: Expected
    now: float

    def at_once(self) -> Action | None:
        return None

    def decide(self, found: Found | None) -> Action | bool:
        if found is None or not found.head.is_live(self.now):
            return False
        if self.condition not in (None, found.head.version):
            return False
        return Action.delete(self.document_id, found)


async def settle(
    index: Index,
    changes: Sequence[Change],
    positions: Sequence[int],
    results: dict[int, bool | Refused],
) -> None:
    """Carry out changes, in as few requests as possible.

    Args:
        index: The index.
        changes: A batch of changes. Those of one document are made one after another.
        positions: The positions of those to make.
        results: Gets, by position, True for a change that was made, False for one whose condition
            did not hold, or why it was refused.
    """
    for wave in _waves(changes, positions):
        pending, attempt = wave, 0
        while pending:
            await backoff(attempt)
            actions = await _actions(index, changes, pending, results, attempt)
            outcomes = await index.bulk(list(actions.values()))
            pending = []
            for position, refusal in zip(actions, outcomes, strict=True):
                if refusal is None:
                    results[position] = True
                elif refusal.status in (_CONFLICT, _NOT_FOUND) and not refusal.is_missing_index:
                    pending.append(position)  # changed since it was found: look again
                else:
                    results[position] = refusal
            attempt += 1


async def _actions(
    index: Index,
    changes: Sequence[Change],
    pending: Sequence[int],
    results: dict[int, bool | Refused],
    attempt: int,
) -> dict[int, Action]:
    """Return the actions to send by position, and add the results that need none."""
    actions: dict[int, Action] = {}
    unknown = []
    for position in pending:
        action = changes[position].at_once() if attempt == 0 else None
        if action is None:
            unknown.append(position)
        else:
            actions[position] = action
    if not unknown:
        return actions
    found = await index.find([changes[position].document_id for position in unknown])
    for position, each in zip(unknown, found, strict=True):
        decision = changes[position].decide(each)
        if isinstance(decision, Action):
            actions[position] = decision
        else:
            results[position] = decision
    return actions


def _waves(changes: Sequence[Change], positions: Sequence[int]) -> Iterator[list[int]]:
    """Divide changes so that none of a part are of the same document."""
    left = list(positions)
    while left:
        wave: dict[str, int] = {}
        for position in left:
            wave.setdefault(changes[position].document_id, position)
        yield list(wave.values())
        left = [each for each in left if wave[changes[each].document_id] != each]
