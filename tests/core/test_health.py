"""Which parts of a stack respond."""

from __future__ import annotations

from kvwrap import MemoryStore, StoreUnavailable, stack
from kvwrap.core.health import reach


class Down(MemoryStore):
    """Does not respond."""

    async def ping(self) -> None:
        raise StoreUnavailable("redis://user:hunter2@host is down")


async def test_every_backend_and_the_stack_are_asked() -> None:
    spare = stack().read_through(Down()).over(MemoryStore())
    store = stack().read_through(MemoryStore()).fallback(spare).over(MemoryStore())
    async with store:
        found = await reach(store, 5)
        assert store.users == 1
    roles = [each.role for each in found]
    assert roles == ["", "near: ", "fallback: ", "fallback: near: ", ""]
    assert [each.error is None for each in found] == [True, True, True, False, True]
    assert found[-1].part == "the whole stack"
    assert all((each.seconds is None) is (each.error is not None) for each in found)
    assert "hunter2" not in str(found)


async def test_what_was_closed_is_closed_again() -> None:
    store = MemoryStore()
    (found,) = await reach(store, 5)
    assert found.error is None
    assert not store.is_open
