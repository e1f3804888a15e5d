"""Packages that kvwrap can do without, loaded when they are first wanted."""

from __future__ import annotations

import importlib
from typing import Any

from kvwrap.errors import ConfigurationError


def need(module: str, *, extra: str, wanted_by: str) -> Any:
    """The module, imported now.

    Args:
        module: Its dotted name.
        extra: The extra of kvwrap that installs it.
        wanted_by: What cannot work without it, for the error.

    Raises:
        ConfigurationError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigurationError(
            f"{wanted_by} needs the package {module.partition('.')[0]!r}, which is not installed: "
            f"pip install 'kvwrap[{extra}]'"
        ) from error
