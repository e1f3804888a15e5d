"""Values as a user would keep: JSON of about 380 bytes, alike in form and not in content."""

from __future__ import annotations

import random
from typing import Any

_FIRST = ("Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "Dennis", "Radia", "Margaret")
_LAST = ("Lovelace", "Hopper", "Turing", "Dijkstra", "Liskov", "Knuth", "Ritchie", "Perlman")
_CITIES = ("London", "Paris", "Berlin", "Lisbon", "Oslo", "Prague", "Vienna", "Madrid")
_ROLES = ("admin", "editor", "viewer", "billing", "support", "developer")


def record(rng: random.Random) -> dict[str, Any]:
    first, last = rng.choice(_FIRST), rng.choice(_LAST)
    day = f"20{rng.randrange(10, 26)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}"
    return {
        "id": rng.getrandbits(48),
        "name": f"{first} {last}",
        "email": f"{first.lower()}.{last.lower()}{rng.randrange(10_000)}@example.org",
        "phone": f"+44 20 {rng.randrange(10**8):08}",
        "roles": rng.sample(_ROLES, 2),
        "active": rng.random() < 0.9,
        "created_at": f"{day}T{rng.randrange(24):02}:{rng.randrange(60):02}:00Z",
        "address": {
            "street": f"{rng.randrange(1, 300)} {rng.choice(_LAST)} Street",
            "city": rng.choice(_CITIES),
            "postcode": f"{rng.randrange(10_000, 99_999)}",
        },
        "preferences": {
            "language": rng.choice(("en", "fr", "de", "pt", "cs")),
            "newsletter": rng.random() < 0.5,
            "theme": rng.choice(("dark", "light")),
        },
        "score": round(rng.random() * 100, 3),
        "token": f"{rng.getrandbits(64):016x}",
    }


def records(count: int, seed: int = 1) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    return [record(rng) for _ in range(count)]
