"""The relative paths of a configuration file, which go by the folder of the file."""

from __future__ import annotations

import os
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from kvwrap.builder import LAYERS
from kvwrap.config.convert import accepts_store, parameters
from kvwrap.config.references import is_reference
from kvwrap.core.registry import layer_class, store_class
from kvwrap.errors import ConfigurationError

_CERTIFICATES: Final = frozenset({"ca", "cert", "key"})
"""Options of stores on servers that are paths of files."""
_IN_QUERY: Final = re.compile(r"(?<=[?&])(ca|cert|key)=([^&#]+)")
_RELATIVE: Final = re.compile(r"(?<=:///)[^/?#][^?#]*")


class Places:
    """Makes the relative paths in the tables of a file absolute.

    What a reference leads to is not changed: a path in the environment goes by the current folder.
    What is not as it should be is not changed either; who builds the stack reports it.

    Args:
        folder: The folder of the file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    def settle(self, table: Mapping[str, Any]) -> dict[str, Any]:
        """Return the table of a stack with absolute paths."""
        settled = dict(table)
        if "store" in table:
            settled["store"] = self._store(table["store"])
        if isinstance(table.get("layers"), list | tuple):
            settled["layers"] = [self._layer(layer) for layer in table["layers"]]
        return settled

    def _layer(self, described: Any) -> Any:
        if not isinstance(described, Mapping):
            return described
        try:
            cls = layer_class(described.get("type", ""), LAYERS)
        except (ConfigurationError, TypeError):
            return described
        return self._part(cls, described)

    def _store(self, described: Any) -> Any:
        if isinstance(described, str):
            return self._url(described)
        if not isinstance(described, Mapping) or is_reference(described):
            return self._reference(described)
        if "store" in described:
            return self.settle(described)
        if set(described) == {"url"}:
            return {"url": self._store(described["url"])}
        try:
            cls = store_class(described.get("type", ""))
        except (ConfigurationError, TypeError):
            return described
        return self._part(cls, described)

    def _part(self, cls: type, described: Mapping[str, Any]) -> dict[str, Any]:
        known = parameters(cls)
        files = _CERTIFICATES if "ca" in known else frozenset()
        settled = dict(described)
        for name, value in described.items():
            wanted = known[name].annotation if name in known else None
            if is_reference(value):
                settled[name] = self._reference(value)
            elif accepts_store(wanted):
                settled[name] = self._stores(value)
            elif isinstance(value, str) and (name in files or _accepts_path(wanted)):
                settled[name] = self._path(value)
        return settled

    def _stores(self, value: Any) -> Any:
        """Return second stores, alone or in a table or array, with absolute paths."""
        if isinstance(value, list | tuple):
            return [self._stores(each) for each in value]
        if isinstance(value, Mapping) and not {"type", "store", "url"} & set(value):
            if is_reference(value):
                return self._reference(value)
            return {name: self._stores(each) for name, each in value.items()}
        return self._store(value)

    def _reference(self, value: Any) -> Any:
        if isinstance(value, Mapping) and isinstance(file := value.get("file"), str) and file:
            return {**value, "file": self._path(file)}
        return value

    def _url(self, url: str) -> str:
        scheme, separator, _ = url.partition("://")
        try:
            is_relative = bool(separator) and store_class(scheme).has_relative_urls
        except ConfigurationError:
            return url
        if is_relative:
            url = _RELATIVE.sub(lambda found: quote(self._path(unquote(found[0]))), url, count=1)
        return _IN_QUERY.sub(
            lambda found: f"{found[1]}={quote(self._path(unquote(found[2])))}", url
        )

    def _path(self, path: str) -> str:
        # ":memory:" is no path.
        return path if path.startswith(":") or not path else str(self._folder / path)


def _accepts_path(wanted: Any) -> bool:
    kinds = (typing.get_origin(each) or each for each in (wanted, *typing.get_args(wanted)))
    return any(isinstance(kind, type) and issubclass(kind, os.PathLike) for kind in kinds)
