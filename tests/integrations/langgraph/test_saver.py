"""Checkpoints: at rest, in graphs, by several writers, and when something fails."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator
from operator import add
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, StateGraph

from kvwrap import (
    Chaos,
    ConfigurationError,
    CorruptEntry,
    DecryptionError,
    Keyring,
    MemoryStore,
    Store,
    StoreUnavailable,
    UnsupportedOperation,
    adapt,
    rewrite,
    stack,
)
from kvwrap.integrations.langgraph import KvwrapSaver, storage

KEYS = Keyring.generate("2025")


def at(thread: str = "t", space: str = "", id_: str | None = None) -> Any:
    place = {"thread_id": thread, "checkpoint_ns": space}
    return {"configurable": place if id_ is None else {**place, "checkpoint_id": id_}}


def put(saver: KvwrapSaver, *, config: Any = None, **values: Any) -> Any:
    checkpoint = {**empty_checkpoint(), "channel_values": values}
    return saver.put(config or at(), checkpoint, {"source": "loop", "step": 1}, {})  # type: ignore[typeddict-item]


@pytest.fixture
def backend() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def saver(backend: MemoryStore) -> Iterator[KvwrapSaver]:
    with KvwrapSaver(backend, KEYS) as saver:
        yield saver


class Counted(TypedDict):
    numbers: Annotated[list[int], add]


def extended(numbers: list[int], writes: Any) -> list[int]:
    return [*numbers, *(number for write in writes for number in write)]


class Delta(TypedDict):
    numbers: Annotated[list[int], DeltaChannel(extended, snapshot_frequency=5)]


def counting(saver: KvwrapSaver, numbers: Any = Counted) -> Any:
    graph = StateGraph(numbers)
    graph.add_node("count", lambda state: {"numbers": [len(state["numbers"])]})
    graph.add_edge(START, "count")
    graph.add_edge("count", END)
    return graph.compile(checkpointer=saver)


def files(folder: Path) -> bytes:
    return b"".join(each.read_bytes() for each in folder.iterdir())


def test_a_graph_goes_on_in_another_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/c.db"
    for expected in ([0], [0, 1], [0, 1, 2]):
        with KvwrapSaver(url, KEYS) as saver:
            assert counting(saver).invoke({"numbers": []}, at())["numbers"] == expected


def test_state_is_unreadable_at_rest(tmp_path: Path) -> None:
    with KvwrapSaver(f"sqlite:///{tmp_path}/c.db", KEYS, compress=False) as saver:
        config = put(saver, diagnosis="confidential")
        saver.put_writes(config, [("diagnosis", "confidential")], "task")
        (found,) = saver.list(at())
        assert found.checkpoint["channel_values"] == {"diagnosis": "confidential"}
        assert found.pending_writes == [("task", "diagnosis", "confidential")]
    held = files(tmp_path)
    assert b"langgraph/threads/t" in held
    assert b"confidential" not in held
    assert b"diagnosis" not in held


def test_no_pickle_is_written_or_loaded_unless_asked_for(backend: MemoryStore) -> None:
    class Odd:
        def __reduce__(self) -> Any:
            return (complex, (1, 2))

    with KvwrapSaver(backend, KEYS) as saver, pytest.raises(TypeError):
        put(saver, odd=Odd())
    pickling = JsonPlusSerializer(pickle_fallback=True)
    with KvwrapSaver(backend, KEYS, serde=pickling) as saver:
        put(saver, odd=Odd())
        found = saver.get_tuple(at())
        assert found is not None
        assert found.checkpoint["channel_values"]["odd"] == pickle.loads(pickle.dumps(Odd()))
    with KvwrapSaver(backend, KEYS) as saver, pytest.raises(NotImplementedError):
        saver.get_tuple(at())


async def test_tasks_of_two_processes_write_to_one_checkpoint(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/c.db"
    async with KvwrapSaver(url, KEYS) as one, KvwrapSaver(url, KEYS) as other:
        config = await one.aput(at(), empty_checkpoint(), {}, {})
        await asyncio.gather(
            *(
                saver.aput_writes(config, [("a", number), ("b", number)], f"task-{number}")
                for number in range(10)
                for saver in (one, other)
            )
        )
        found = await other.aget_tuple(at())
    assert found is not None
    assert found.pending_writes == [
        (f"task-{number}", channel, number) for number in range(10) for channel in "ab"
    ]


async def test_a_later_checkpoint_stays_the_latest(saver: KvwrapSaver) -> None:
    first, second = empty_checkpoint(), empty_checkpoint()
    await asyncio.gather(*(saver.aput(at(), each, {}, {}) for each in (second, first)))
    found = await saver.aget_tuple(at())
    assert found is not None
    assert found.checkpoint["id"] == second["id"]


def test_names_of_every_kind(saver: KvwrapSaver) -> None:
    places = [at("a/b", "x|y:1/2"), at("a", "b/x"), at("ä%2F", ""), at("%", "%2F|")]
    for number, place in enumerate(places):
        config = put(saver, config=place, n=number)
        saver.put_writes(config, [("c", number)], "task/1")
    for number, place in enumerate(places):
        (found,) = saver.list(place)
        assert found.checkpoint["channel_values"] == {"n": number}
        assert found.pending_writes == [("task/1", "c", number)]
    assert len(list(saver.list(None))) == len(places)


def test_listing_more_than_a_page(saver: KvwrapSaver) -> None:
    configs = [put(saver, n=number) for number in range(45)]
    assert [each.checkpoint["channel_values"]["n"] for each in saver.list(at())] == [
        *range(44, -1, -1)
    ]
    found = saver.list(at(), before=configs[30], limit=25)
    assert [each.checkpoint["channel_values"]["n"] for each in found] == [*range(29, 4, -1)]
    assert list(saver.list(at(), limit=0)) == []


def test_threads_of_other_names_are_apart(backend: MemoryStore) -> None:
    with KvwrapSaver(backend, KEYS, name="one") as one, KvwrapSaver(backend, KEYS) as other:
        put(one, n=1)
        assert other.get_tuple(at()) is None
        assert list(other.list(None)) == []
        other.delete_thread("t")
        assert one.get_tuple(at()) is not None


def test_a_graph_with_a_delta_channel_survives_pruning(saver: KvwrapSaver) -> None:
    graph = counting(saver, Delta)
    for _ in range(7):
        graph.invoke({"numbers": []}, at())
    before = len(list(saver.list(at())))
    saver.prune(["t"])
    assert len(list(saver.list(at()))) < before
    assert graph.get_state(at()).values["numbers"] == list(range(7))
    assert graph.invoke({"numbers": []}, at())["numbers"] == list(range(8))


def test_an_unknown_strategy_of_pruning_is_refused(saver: KvwrapSaver) -> None:
    with pytest.raises(ConfigurationError, match="`strategy`"):
        saver.prune(["t"], strategy="keep_all")


# -- threads and event loops ---------------------------------------------------------------


def test_event_loops_one_after_another(saver: KvwrapSaver) -> None:
    graph = counting(saver)
    for number in range(3):
        asyncio.run(graph.ainvoke({"numbers": []}, at()))
        assert len(graph.get_state(at()).values["numbers"]) == number + 1


async def test_a_blocking_method_does_not_block_an_event_loop(saver: KvwrapSaver) -> None:
    with pytest.raises(UnsupportedOperation, match="begins with `a`"):
        saver.get_tuple(at())


async def test_a_call_can_be_cancelled(backend: MemoryStore) -> None:
    async with KvwrapSaver(stack().chaos(delay=(60, 60)).over(backend), KEYS) as saver:
        call = asyncio.ensure_future(saver.aget_tuple(at()))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_a_call_during_which_the_store_is_closed(backend: MemoryStore) -> None:
    saver = KvwrapSaver(stack().chaos(delay=(60, 60)).over(backend), KEYS)
    await saver.__aenter__()
    call = asyncio.ensure_future(saver.aget_tuple(at()))
    await asyncio.sleep(0)
    await asyncio.to_thread(saver.close)
    with pytest.raises(StoreUnavailable):
        await call
    with pytest.raises(StoreUnavailable):
        await saver.aget_tuple(at())


# -- failure -------------------------------------------------------------------------------


def test_a_graph_goes_on_after_an_outage(backend: MemoryStore) -> None:
    chaotic = stack().chaos().over(backend)
    with KvwrapSaver(chaotic, KEYS) as saver:
        graph = counting(saver)
        graph.invoke({"numbers": []}, at())
        chaotic.find(Chaos).down = True
        with pytest.raises(StoreUnavailable):
            graph.invoke({"numbers": []}, at())
        chaotic.find(Chaos).down = False
        assert graph.invoke({"numbers": []}, at())["numbers"] == [0, 1]


async def replaced(backend: Store, source: str, target: str) -> None:
    """Put the entries of one collection of the backend in place of those of another."""
    keys = await backend.keys(f"langgraph/threads/{source}")
    entries = await backend.read(f"langgraph/threads/{source}", keys)
    await backend.write(f"langgraph/threads/{target}", keys, [each for each in entries if each])


async def test_a_checkpoint_of_another_thread_is_not_opened(backend: MemoryStore) -> None:
    async with KvwrapSaver(backend, KEYS) as saver:
        await saver.aput(at("admin"), empty_checkpoint(), {}, {})
        await replaced(backend, "admin", "guest")
        with pytest.raises((DecryptionError, CorruptEntry)):
            await saver.aget_tuple(at("guest"))


async def test_keys_rotate(backend: MemoryStore) -> None:
    async with KvwrapSaver(backend, KEYS) as saver:
        await saver.aput(at(), empty_checkpoint(), {}, {})
    promoted = KEYS.with_key("2026").promoted("2026")
    async with storage(backend, promoted, purpose="threads") as store:
        report = await rewrite(store)
    assert (report.rewritten, report.retirable) == (2, ["2025"])
    async with KvwrapSaver(backend, promoted.retired("2025")) as saver:
        assert await saver.aget_tuple(at()) is not None


def test_bad_arguments(backend: MemoryStore) -> None:
    with pytest.raises(ConfigurationError, match="`name`"):
        KvwrapSaver(backend, KEYS, name="a/b")
    with pytest.raises(ConfigurationError, match="`compress`"):
        KvwrapSaver(backend, KEYS, compress="no")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="`purpose`"):
        storage(backend, KEYS, purpose="else")  # type: ignore[arg-type]

    class GetAndSet:
        def get(self, key: str) -> None: ...

        def set(self, key: str, value: object) -> None: ...

    with pytest.raises(ConfigurationError, match="LangGraph needs a store"):
        KvwrapSaver(adapt(GetAndSet()), KEYS)
