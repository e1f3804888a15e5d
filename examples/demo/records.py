"""The input: the ISO databases of pycountry."""

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
    """Return every record, with its code in the standard as its key."""
    return {
        # Omit a subdivision's parent, an object: its code is a field of its own.
        (name, getattr(record, code)): {k: v for k, v in record if isinstance(v, str | None)}
        for name, (database, code) in DATABASES.items()
        for record in database
    }
