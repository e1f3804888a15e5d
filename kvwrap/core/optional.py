"""Optional packages, imported at their first use."""

from __future__ import annotations

import importlib
from typing import Any

from kvwrap.errors import ConfigurationError


def need(module: str, *, extra: str, wanted_by: str) -> Any:
    """Import a module of an optional package, and return it.

    Args:
        module: The dotted name of the module.
        extra: The extra of kvwrap that installs the package.
        wanted_by: The name of the feature that needs the package, for the error.

    Raises:
        ConfigurationError: The package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigurationError(
            f"{wanted_by} needs the package {module.partition('.')[0]!r}, which is not installed: "
            f"install kvwrap with the extra {extra!r} (pip install '.[{extra}]' in its clone)"
        ) from error
