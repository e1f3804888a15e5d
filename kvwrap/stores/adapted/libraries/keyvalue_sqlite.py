"""Tables of keyvalue-sqlite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kvwrap.core.capability import Capability
from kvwrap.stores.adapted.adapter import Adapter
from kvwrap.stores.adapted.forms import JSON_VALUES


class KeyValueSqliteAdapter(Adapter):
    """Adapts a table of keyvalue-sqlite, which opens its file for every call."""

    kind = "table of keyvalue-sqlite"
    classes = ("keyvalue_sqlite.keyvalue_sqlite:KeyValueSqlite",)
    package = "keyvalue-sqlite"
    needs = ("get_many", "update", "remove", "keys")
    form = JSON_VALUES
    properties = frozenset({Capability.PERSISTENT, Capability.SHARED})

    def place(self) -> str | None:
        return f"{Path(self._obj.db_path).absolute()}, table {self._obj.table_name!r}"

    def get_many(self, names: Sequence[str]) -> Any:
        return self._obj.get_many(set(names))

    def set_many(self, values: Mapping[str, Any], ttl: int | None) -> None:
        self._obj.update(dict(values))

    def delete(self, name: str) -> None:
        self._obj.remove(name, ignore_missing_key=True)

    def list_names(self) -> Any:
        return self._obj.keys()
