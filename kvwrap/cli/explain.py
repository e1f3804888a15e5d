"""`kvwrap explain`: the chain of a stack, with findings."""

from __future__ import annotations

import warnings
from typing import Any

from kvwrap.cli.codes import DONE
from kvwrap.cli.options import JSONOption, PythonOption, StoreArgument
from kvwrap.cli.output import echo_json, tell
from kvwrap.cli.stores import build
from kvwrap.core.part import Chain
from kvwrap.errors import StackWarning


def explain(
    store: StoreArgument,
    /,
    *,
    json: JSONOption = False,
    python: PythonOption = False,
) -> int:
    """Draw a stack as a tree, with capabilities and findings.

    Nothing is opened.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StackWarning)  # they are among the findings
        built = build(store, python=python)
    if json:
        echo_json(_described(built))
    else:
        tell(built.explain())
    return DONE


def _described(chain: Chain) -> dict[str, Any]:
    """Return a chain and its second stores for JSON."""
    return {
        "parts": [
            {
                "name": part.name,
                "summary": part.summary,
                "notes": list(part.notes()),
                "second_stores": {role: _described(each) for role, each in part.second_stores},
            }
            for part in chain.parts
        ],
        "capabilities": sorted(chain.capabilities),
        "findings": list(chain.findings),
    }
