"""Checkpoints and long-term memory of LangGraph in a store of kvwrap, encrypted."""

from kvwrap.integrations.langgraph.runner import storage
from kvwrap.integrations.langgraph.saver import KvwrapSaver
from kvwrap.integrations.langgraph.store import KvwrapStore

__all__ = ["KvwrapSaver", "KvwrapStore", "storage"]
