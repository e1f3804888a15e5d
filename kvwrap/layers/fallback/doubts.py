"""Keys under which the other store may have an older state than readers have seen."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from kvwrap.core.primitives import Collection, QualifiedKey

_LIMIT: Final = 100_000


class _Everything:
    """The scope of a failed `destroy`."""


EVERYTHING: Final = _Everything()
"""All collections."""

Scope = Collection | _Everything


class Doubts:
    """The keys in doubt, and the collections whose deletion has an unknown outcome.

    It remembers the last 100,000 keys.
    """

    def __init__(self) -> None:
        self._keys: OrderedDict[QualifiedKey, None] = OrderedDict()
        self._scopes: dict[Scope, set[QualifiedKey]] = {}

    def __bool__(self) -> bool:
        return bool(self._keys or self._scopes)

    def __len__(self) -> int:
        return len(self._keys)

    def of(self, qualified_keys: Iterable[QualifiedKey]) -> list[QualifiedKey]:
        """Return those of these keys that are in doubt."""
        return [qualified_key for qualified_key in qualified_keys if self._has(qualified_key)]

    def _has(self, qualified_key: QualifiedKey) -> bool:
        if qualified_key in self._keys:
            return True
        return any(
            scope in (EVERYTHING, qualified_key[0]) and qualified_key not in settled
            for scope, settled in self._scopes.items()
        )

    def add(self, qualified_keys: Iterable[QualifiedKey]) -> None:
        """Doubt these keys."""
        for qualified_key in qualified_keys:
            self._keys[qualified_key] = None
            for settled in self._scopes.values():
                settled.discard(qualified_key)
        while len(self._keys) > _LIMIT:
            self._keys.popitem(last=False)

    def settle(self, qualified_keys: Iterable[QualifiedKey]) -> None:
        """End the doubts about these keys, which the other store now has as the inner one."""
        for qualified_key in qualified_keys:
            self._keys.pop(qualified_key, None)
            for scope, settled in self._scopes.items():
                if scope in (EVERYTHING, qualified_key[0]):
                    settled.add(qualified_key)

    def add_scope(self, scope: Scope) -> None:
        """Doubt every key of a collection, or of all."""
        self._scopes[scope] = set()

    def settle_scope(self, scope: Scope) -> None:
        """End the doubts about a collection, or about all, which both stores have deleted."""
        if scope is EVERYTHING:
            self._scopes.clear()
            self._keys.clear()
        else:
            self._scopes.pop(scope, None)
            for qualified_key in [key for key in self._keys if key[0] == scope]:
                del self._keys[qualified_key]
