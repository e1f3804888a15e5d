"""Objects that are known by nothing but their methods `get` and `set`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from kvwrap.core.concurrency import gather
from kvwrap.core.validation import has_method
from kvwrap.stores.adapted.adapter import PLAIN, Adapter, found

_REMOVALS: Final = ("delete", "remove", "__delitem__")


class GetAndSetAdapter(Adapter):
    """Adapts an object with `get(name)` and `set(name, value)`, async or not.

    `delete` or `remove`, and `keys`, are used where it has them. A missing name may give None or a
    KeyError. If nothing can be removed, an entry that has expired is put in place of another.
    """

    kind = "object with get and set"
    names = PLAIN

    def __init__(self, obj: Any, namespace: tuple[str, ...] | None = None) -> None:
        super().__init__(obj, namespace)
        self.blocking = not inspect.iscoroutinefunction(obj.get)
        removals = [name for name in _REMOVALS if has_method(obj, name)]
        self._remove: Callable[[str], Any] | None = getattr(obj, removals[0]) if removals else None
        self.deletes = bool(removals)
        self.lists = has_method(obj, "keys")

    def get_many(self, names: Sequence[str]) -> Any:
        if self.blocking:
            return found(names, [_or_none(self._obj.get, name) for name in names])
        return self._get_many(names)

    async def _get_many(self, names: Sequence[str]) -> dict[str, Any]:
        async def get(name: str) -> Any:
            try:
                return await self._obj.get(name)
            except KeyError:
                return None

        return found(names, await gather([get(name) for name in names]))

    def set_many(self, values: Mapping[str, Any], ttl: int | None) -> Any:
        return _all([self._obj.set(name, value) for name, value in values.items()])

    def delete_many(self, names: Sequence[str]) -> Any:
        assert self._remove is not None
        return _all([_or_none(self._remove, name) for name in names])

    def list_names(self) -> Any:
        return self._obj.keys()


def _or_none(function: Callable[[str], Any], name: str) -> Any:
    try:
        return function(name)
    except KeyError:
        return None


def _all(results: Sequence[Any]) -> Any:
    """Return what waits for all results that are awaitable, or None."""
    waiting = [each for each in results if inspect.isawaitable(each)]
    return _await_all(waiting) if waiting else None


async def _await_all(waiting: Sequence[Any]) -> None:
    for each in waiting:
        try:
            await each
        except KeyError:  # removed by another
            continue


def has_get_and_set(obj: object) -> bool:
    """Return True if an object has `get` for one name, and `set` for a name and a value."""
    return _takes(obj, "get", 1) and _takes(obj, "set", 2)


def _takes(obj: object, method: str, count: int) -> bool:
    if not has_method(obj, method):
        return False
    try:
        inspect.signature(getattr(obj, method)).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True
