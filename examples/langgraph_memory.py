"""Keep the state of a graph and what it remembers in one encrypted file.

    python -m examples.langgraph_memory agents.db

A graph stops to ask for approval. The program closes everything, as a restart does, opens the
file again, and the graph goes on where it was. What it remembers about its user is in the file
too, and the file shows neither.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.store.base import BaseStore
from langgraph.types import Command, interrupt

from kvwrap import Keyring
from kvwrap.integrations.langgraph import KvwrapSaver, KvwrapStore


class Order(TypedDict, total=False):
    """The state of the graph."""

    item: str
    status: str


def propose(state: Order, *, store: BaseStore) -> Order:
    """Propose what the user usually orders."""
    usual = store.get(("users", "ada"), "usual order")
    assert usual is not None
    return {"item": usual.value["item"]}


def approve(state: Order) -> Order:
    """Wait until somebody answers."""
    answer = interrupt(f"order {state['item']}?")
    return {"status": "ordered" if answer == "yes" else "refused"}


def build(saver: KvwrapSaver, memory: KvwrapStore) -> CompiledStateGraph[Order]:
    """Build the graph over what it keeps."""
    graph = StateGraph(Order)
    graph.add_node("propose", propose)
    graph.add_node("approve", approve)
    graph.add_edge(START, "propose")
    graph.add_edge("propose", "approve")
    graph.add_edge("approve", END)
    return graph.compile(checkpointer=saver, store=memory)


def main(path: Path) -> None:
    """Run the graph in two halves, with a restart between them."""
    url = f"sqlite:///{path.absolute()}"
    keys = Keyring.generate()  # in production: Keyring.from_env("AGENT_KEYS")
    thread: RunnableConfig = {"configurable": {"thread_id": "order-1"}}

    with KvwrapSaver(url, keys) as saver, KvwrapStore(url, keys) as memory:
        memory.put(("users", "ada"), "usual order", {"item": "chamomile tea"})
        state = build(saver, memory).invoke({"item": ""}, thread)
        print("asked:", state["__interrupt__"][0].value)

    with KvwrapSaver(url, keys) as saver, KvwrapStore(url, keys) as memory:
        state = build(saver, memory).invoke(Command(resume="yes"), thread)
        print("after a restart:", state["item"], "is", state["status"])
        print(len(list(saver.list(thread))), "checkpoints of the thread")
        found = memory.search(("users",), filter={"item": "chamomile tea"})
        print("remembered:", [item.value for item in found])

    files = b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))
    print("readable in the file:", b"chamomile" in files)


if __name__ == "__main__":
    main(Path(sys.argv[1] if sys.argv[1:] else "agents.db"))
