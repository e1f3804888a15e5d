"""The input: the ISO databases that pycountry ships."""

from __future__ import annotations

from typing import Any

import pycountry

Records = dict[tuple[str, str], dict[str, Any]]
"""Records by collection and key."""

DATABASES = {
    "languages": (pycountry.languages, "alpha_3"),
    "countries": (pycountry.countries, "alpha_3"),
    "subdivisions": (pycountry.subdivisions, "code"),
    "currencies": (pycountry.currencies, "alpha_3"),
    "scripts": (pycountry.scripts, "alpha_4"),
}


def all_records() -> Records:
    """Every record, under the code that its standard gives it."""
    return {
        # A subdivision's parent is an object beside its code, which is kept.
        (name, getattr(record, code)): {k: v for k, v in record if isinstance(v, str | None)}
        for name, (database, code) in DATABASES.items()
        for record in database
    }
