"""Hints for operations of other interfaces that a store does not have, such as `with` and `[]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn


class Hints:
    """Special methods that raise `TypeError` and name the method to use.

    Type checkers do not see them, so they report such a use as an error too. Methods with other
    names, such as `set` or `encrypt`, have no hints. A `__getattr__` makes a `get` from memory
    35 % slower in Python 3.11, and descriptors would satisfy runtime-checkable protocols from
    Python 3.12 on.
    """

    if not TYPE_CHECKING:

        def __enter__(self) -> NoReturn:
            raise TypeError(
                "a store needs `async with`; in code that is not async, use `with "
                "kvwrap.sync(store) as blocking_store`"
            )

        def __exit__(self, *error: Any) -> None:
            """Make `with` call `__enter__`, whose error has the hint."""

        def __getitem__(self, key: Any) -> NoReturn:
            raise TypeError(
                "a store has no []: use `await store.get(key)`, or kvwrap.mapping(store) for a dict"
            )

        def __setitem__(self, key: Any, value: Any) -> NoReturn:
            raise TypeError(
                "a store has no []: use `await store.put(key, value)`, or kvwrap.mapping(store) "
                "for a dict"
            )

        def __delitem__(self, key: Any) -> NoReturn:
            raise TypeError(
                "a store has no []: use `await store.delete(key)`, or kvwrap.mapping(store) for a "
                "dict"
            )

        def __contains__(self, key: Any) -> NoReturn:
            raise TypeError("a store has no `in`: use `await store.exists(key)`")

        # Without it, `__getitem__` would make a store iterable.
        __iter__ = None
