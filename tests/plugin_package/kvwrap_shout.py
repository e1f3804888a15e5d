"""A store and a layer that are not kvwrap's own."""

from __future__ import annotations

from urllib.parse import urlsplit

from kvwrap import ConfigurationError, MemoryStore, Passthrough


class DrawerStore(MemoryStore):
    """Memory with a label."""

    def __init__(self, label: str = "top", *, max_entries: int | None = None) -> None:
        super().__init__(max_entries=max_entries)
        self.label = label

    @classmethod
    def from_url(cls, url: str) -> DrawerStore:
        return cls(urlsplit(url).netloc)


class Shout(Passthrough):
    """Puts values in capitals, with marks after them."""

    finding_codes = frozenset({"shouted-twice"})

    def __init__(self, *, marks: int = 1) -> None:
        if marks < 0:
            raise ConfigurationError("marks are 0 or more")
        self.marks = marks

    def on_put(self, value: object, key: str, collection: str | None) -> object:
        return value.upper() + "!" * self.marks if isinstance(value, str) else value
