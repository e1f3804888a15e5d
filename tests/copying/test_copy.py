"""`kvwrap.copy`: entries of one store in another."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import kvwrap
from kvwrap import (
    Capability,
    ConfigurationError,
    CopyReport,
    InvalidValue,
    Keyring,
    MemoryStore,
    NullStore,
    SQLiteStore,
    Statistics,
    StoreUnavailable,
    UnsupportedOperation,
    stack,
)
from kvwrap.rewriting.walk import Progress
from kvwrap.testing import ManualClock

COLLECTIONS = (None, "users", "orders")


class Plain(MemoryStore):
    """A store that can neither compare versions nor list in order."""

    capabilities = MemoryStore.capabilities - {Capability.COMPARE_AND_PUT, Capability.RANGE}


class Forgetful(MemoryStore):
    """A store that acknowledges what it does not keep."""

    async def write(self, collection: Any, keys: Any, *rest: Any) -> list[bool]:
        written = await super().write(collection, keys, *rest)
        await super().remove(collection, [key for key in keys if key.endswith("0")])
        return written


async def fill(store: kvwrap.Store, count: int = 100) -> None:
    keys = [f"key-{number:03}" for number in range(count)]
    for collection in COLLECTIONS:
        await store.put_many(keys, [{"n": key} for key in keys], collection=collection)


async def contents(store: kvwrap.Store) -> dict[str | None, dict[str, Any]]:
    return {
        name: {key: value async for key, value in store.items(collection=name)}
        for name in COLLECTIONS
    }


@pytest.mark.parametrize("target_kind", [MemoryStore, Plain, SQLiteStore])
async def test_everything_is_copied_and_compared(target_kind: type, tmp_path: Path) -> None:
    plain = stack().compress().encrypt(Keyring.generate()).over(MemoryStore())
    await fill(plain)
    base = SQLiteStore(tmp_path / "x.db") if target_kind is SQLiteStore else target_kind()
    async with stack().prefix_key("p:").encrypt(Keyring.generate()).over(base) as target:
        report = await kvwrap.copy(plain, target)
        assert (report.seen, report.copied, report.failed) == (300, 300, 0)
        assert await contents(target) == await contents(plain)
        assert {name: (each.seen, each.copied) for name, each in report.collections.items()} == {
            None: (100, 100),
            "users": (100, 100),
            "orders": (100, 100),
        }
        again = await kvwrap.copy(plain, target)
        assert (again.copied, again.same, again.kept) == (0, 300, 0)


async def test_entries_keep_their_time_to_live() -> None:
    ours, theirs = ManualClock(), ManualClock()
    theirs.advance(5_000)
    source, target = MemoryStore(clock=ours), MemoryStore(clock=theirs)
    await source.put("a", 1, ttl=100)
    await source.put("b", 2)
    ours.advance(40)
    await kvwrap.copy(source, target)
    assert await target.ttl_many(["a", "b"]) == [(1, pytest.approx(60)), (2, None)]


async def test_what_ended_is_gone(clock: ManualClock) -> None:
    class Ending(MemoryStore):
        async def read(self, collection: Any, keys: Any) -> Any:
            entries = await super().read(collection, keys)
            clock.advance(20)
            return entries

    source, target = Ending(clock=clock), MemoryStore(clock=clock)
    await source.put("a", 1, ttl=10)
    await source.put("b", 2, ttl=60)
    report = await kvwrap.copy(source, target)
    assert (report.seen, report.copied, report.gone) == (2, 1, 1)
    assert await target.keys() == ["b"]


@pytest.mark.parametrize("kind", [MemoryStore, Plain])
async def test_values_of_the_target_are_kept_or_replaced(kind: type[MemoryStore]) -> None:
    source, target = MemoryStore(), kind()
    await source.put_many(["a", "b", "c"], [1, None, 3])
    await target.put_many(["a", "b"], [True, None])
    report = await kvwrap.copy(source, target)
    assert (report.copied, report.same, report.kept, report.failed) == (1, 1, 1, 0)
    assert await target.get_many(["a", "c"]) == [True, 3]
    report = await kvwrap.copy(source, target, existing="replace")
    assert (report.copied, report.same, report.kept) == (3, 0, 0)
    assert await target.get("a") is not True


async def test_a_choice_of_names() -> None:
    source, target = MemoryStore(), MemoryStore()
    await fill(source)
    report = await kvwrap.copy(source, target, prefix="key-01", collections=[None, "users"])
    assert report.copied == 20
    assert await target.collections() == ["users"]
    assert await target.keys("users") == [f"key-01{number}" for number in range(10)]


async def test_what_layers_keep_for_themselves_is_not_copied() -> None:
    source, target = MemoryStore(), MemoryStore()
    await kvwrap.tuples(source).store_id()
    await source.put("a", 1)
    assert (await kvwrap.copy(source, target)).seen == 1
    assert await target.collections() == []
    assert await kvwrap.tuples(source).store_id() != await kvwrap.tuples(target).store_id()


# -- entries that cannot be copied ---------------------------------------------------------


async def test_unreadable_and_refused_entries_are_reported() -> None:
    base = MemoryStore()
    source = stack().encrypt(Keyring.generate()).over(base)
    await source.put_many(["a", "big", "z"], [1, "x" * 1000, 3])
    await stack().encrypt(Keyring.generate()).over(base).put("m", 2)
    target = stack().limit_size(500).over(MemoryStore())
    report = await kvwrap.copy(source, target)
    assert (report.seen, report.copied, report.failed) == (4, 2, 2)
    assert {each.key: each.reason.partition(":")[0] for each in report.failures} == {
        "big": "ValueTooLarge",
        "m": "DecryptionError",
    }
    assert "4 seen, 2 copied" in str(report)
    assert "'big' in the default collection: ValueTooLarge" in str(report)
    assert await target.get_many(["a", "z"]) == [1, 3]


async def test_a_value_that_the_target_validates_away_is_reported() -> None:
    source = MemoryStore()
    await source.put_many(["a", "b"], [{"n": 1}, {"n": "text"}])
    target = stack().validate(dict[str, int])
    report = await kvwrap.copy(source, target.over(MemoryStore()))
    assert (report.copied, report.failed) == (1, 1)
    assert report.failures[0].reason.startswith(InvalidValue.__name__)


async def test_a_target_that_does_not_keep_is_caught() -> None:
    source = MemoryStore()
    await fill(source, 20)
    for target in (NullStore(), Forgetful()):
        report = await kvwrap.copy(source, target, collections=["users"])
        lost = 20 if isinstance(target, NullStore) else 2
        assert (report.copied, report.failed) == (20 - lost, lost)
        assert "the target has no value after the copy" in report.reasons


async def test_a_target_that_changes_values_is_caught() -> None:
    class Lying(MemoryStore):
        async def read(self, collection: Any, keys: Any) -> Any:
            entries = await super().read(collection, keys)
            return [entry and entry.with_body(b"5", entry.codec) for entry in entries]

    source = MemoryStore()
    await source.put_many(["a", "b"], [5, 6])
    report = await kvwrap.copy(source, Lying(), existing="replace")
    assert (report.copied, report.failed) == (1, 1)
    assert report.failures[0].key == "b"
    assert report.failures[0].reason == "the target returns another value after the copy"


# -- stopping and continuing ---------------------------------------------------------------


@pytest.mark.parametrize("kind", [MemoryStore, Plain])
@pytest.mark.parametrize("form", ["path", "mapping"])
async def test_it_continues_where_it_stopped(
    kind: type[MemoryStore], form: str, tmp_path: Path
) -> None:
    source, target = stack().statistics().over(kind()), MemoryStore()
    await fill(source)
    path = tmp_path / "state"
    seen: list[Progress[CopyReport]] = []

    def interrupt(progress: Progress[CopyReport]) -> None:
        seen.append(progress)
        if progress.report.seen == 150:
            raise KeyboardInterrupt

    resume: Any = path if form == "path" else None
    with pytest.raises(KeyboardInterrupt):
        await kvwrap.copy(source, target, batch=25, progress=interrupt, resume=resume)
    if form == "mapping":
        resume = json.loads(json.dumps(seen[-1].state))
    source.find(Statistics).reset()
    report = await kvwrap.copy(source, target, batch=25, resume=resume)
    assert source.find(Statistics).snapshot().reads.keys == 150
    assert (report.seen, report.copied) == (300, 300)
    assert not path.exists()
    assert await contents(target) == await contents(source)


async def test_a_failing_target_leaves_a_state(tmp_path: Path) -> None:
    class Full(MemoryStore):
        full = True

        async def write(self, collection: Any, keys: Any, *rest: Any) -> list[bool]:
            if self.full and "key-050" in keys:
                raise StoreUnavailable("gone", store=self.name)
            return await super().write(collection, keys, *rest)

    source, target, path = MemoryStore(), Full(), tmp_path / "state"
    await fill(source)
    with pytest.raises(StoreUnavailable):
        await kvwrap.copy(source, target, batch=10, resume=path)
    assert path.exists()
    target.full = False
    report = await kvwrap.copy(source, target, batch=10, resume=path)
    assert (report.copied, report.same) == (300, 0)


async def test_a_cancelled_copy_continues(tmp_path: Path) -> None:
    source, target = MemoryStore(), MemoryStore()
    await fill(source)
    for turns in (1, 10, 40):
        task = asyncio.create_task(kvwrap.copy(source, target, batch=5, resume=tmp_path / "s"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    report = await kvwrap.copy(source, target, batch=5, resume=tmp_path / "s")
    assert report.seen == report.copied + report.same == 300
    assert await contents(target) == await contents(source)


async def test_a_state_of_other_work_is_refused_or_begins_anew(tmp_path: Path) -> None:
    source, path = SQLiteStore(tmp_path / "a.db"), tmp_path / "state"
    async with source, SQLiteStore(tmp_path / "b.db") as one, SQLiteStore(tmp_path / "c.db") as two:
        await fill(source, 20)
        states: list[dict[str, Any]] = []
        await kvwrap.copy(source, one, progress=lambda each: states.append(each.state))
        with pytest.raises(ConfigurationError, match="the state must be that of a copy of"):
            await kvwrap.copy(source, two, resume=states[-1])
        report = await kvwrap.copy(source, one, existing="replace", resume=states[-1])
        assert report.copied == 60
        path.write_text('{"store": 5}')
        with pytest.raises(ConfigurationError, match="is not the state of a copy"):
            await kvwrap.copy(source, one, resume=path)


async def test_it_gives_turns() -> None:
    source, target = MemoryStore(), MemoryStore()
    await fill(source)
    copying, turns = asyncio.create_task(kvwrap.copy(source, target, batch=10)), 0
    while not copying.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 30


# -- arguments -----------------------------------------------------------------------------


async def test_objects_of_other_libraries() -> None:
    source: dict[str, Any] = {}
    await kvwrap.adapt(source).put("a", [1])
    target: dict[str, Any] = {}
    assert (await kvwrap.copy(source, target)).copied == 1
    assert await kvwrap.adapt(target).get("a") == [1]


async def test_the_same_backend_is_refused(tmp_path: Path) -> None:
    base, path = MemoryStore(), tmp_path / "x.db"
    for source, target in (
        (base, stack().prefix_key("p:").over(base)),
        (SQLiteStore(path), SQLiteStore(path)),
    ):
        with pytest.raises(ConfigurationError, match="a copy needs two backends"):
            await kvwrap.copy(source, target)
    async with SQLiteStore(path) as one, SQLiteStore(path, table="other") as other:
        await one.put("a", 1)
        assert (await kvwrap.copy(one, other)).copied == 1


async def test_a_source_that_cannot_list_is_refused() -> None:
    hidden = stack().hash_keys(b"0" * 32).over(MemoryStore())
    with pytest.raises(UnsupportedOperation, match="can enumerate its keys"):
        await kvwrap.copy(hidden, MemoryStore())


@pytest.mark.parametrize(
    "arguments",
    [{"existing": "merge"}, {"batch": 0}, {"prefix": 5}, {"collections": "users"}, {"resume": 5}],
)
async def test_other_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        await kvwrap.copy(MemoryStore(), MemoryStore(), **arguments)


async def test_what_is_no_entry_is_left_and_counted() -> None:
    content: dict[Any, Any] = {"a": 1, "b": {"x": 2}, 5: "no key", "": "no key", "@bad": "no key"}
    report = await kvwrap.copy(content, MemoryStore())
    assert (report.seen, report.copied, report.left) == (2, 2, 3)
    assert "3 left in the source" in str(report)
    layered = stack().prefix_key("p:").statistics()
    assert (await kvwrap.copy(layered.over(content), MemoryStore())).left == 3
    assert (await kvwrap.copy(layered.over(MemoryStore()), MemoryStore())).left == 0
