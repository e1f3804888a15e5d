"""Whether the backends of a stack respond."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from kvwrap.core.deadlines import time_limit
from kvwrap.core.described import redact
from kvwrap.core.missing import NotThereYet
from kvwrap.core.part import Chain
from kvwrap.core.store import Store
from kvwrap.errors import KvwrapError


class Reached(msgspec.Struct, frozen=True):
    """One store that was asked to respond.

    Attributes:
        part: A backend by its location, or `the whole stack`.
        role: What the stack has it for: empty for its own backend and for itself, `near: ` or
            `fallback: ` for such a second store, one after another for those of second stores.
        seconds: How long it took to respond; `None` if it did not.
        error: Why it did not respond, without secrets; `None` if it did.
        is_to_come: True if it is a file, table or the like that is not there, that the store may
            not create (`Store.creates`), and that an application could.
    """

    part: str
    role: str = ""
    seconds: float | None = None
    error: str | None = None
    is_to_come: bool = False


def chains(chain: Chain, roles: str = "") -> Iterator[tuple[str, Chain]]:
    """Iterate over a chain and those of its second stores, each with its roles."""
    yield roles, chain
    for part in chain.parts:
        for role, second in part.second_stores:
            yield from chains(second, f"{roles}{role}: ")


async def reach(store: Store, timeout: float) -> list[Reached]:  # noqa: ASYNC109  # each has as much
    """Ask every backend of a stack to respond, then the whole stack through its layers.

    They are asked one after another; the stack only if its own backend responded. What is closed
    is opened for it, and closed again.

    Args:
        store: The stack, or a bare store.
        timeout: Seconds that each has.
    """
    found = []
    for role, chain in chains(store):
        backend = chain.parts[-1]
        assert isinstance(backend, Store)
        found.append(await _reach(backend.location, role, backend, timeout))
    if store.layers and found[0].error is None:
        # What the layers open: keys that are fetched, dictionaries, journals.
        found.append(await _reach("the whole stack", "", store, timeout))
    return found


async def _reach(part: str, role: str, store: Store, limit: float) -> Reached:
    begin = time.perf_counter()
    try:
        with time_limit(limit):
            async with store:
                await store.check()
    except TimeoutError as error:
        is_own = isinstance(error, KvwrapError)
        text = redact(str(error)) if is_own else f"no answer in {limit:g} s"
        return Reached(part, role, error=text)
    except KvwrapError as error:
        is_to_come = isinstance(error, NotThereYet)
        return Reached(part, role, error=redact(str(error)), is_to_come=is_to_come)
    return Reached(part, role, time.perf_counter() - begin)
