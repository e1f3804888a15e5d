"""Compression with a trained dictionary, compared with zstd without one."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

from benchmarks.memory import COUNT
from benchmarks.table import Row, ratio
from benchmarks.timing import Work, pair
from kvwrap import Compression, MemoryStore, Store, stack

CITIES = ("Lisbon", "Nairobi", "Osaka", "Quito", "Tromsø", "Wellington")


def account(number: int) -> dict[str, Any]:
    """Return a record of about 380 bytes of JSON: the same fields, with different values."""
    rng = random.Random(number)
    return {
        "id": f"acct_{rng.getrandbits(64):016x}",
        "email": f"user{number}@mail{rng.randrange(50)}.example.org",
        "created_at": f"2026-0{rng.randrange(1, 10)}-1{rng.randrange(10)}T08:15:00Z",
        "address": {
            "street": f"{rng.randrange(1, 400)} Harbour Road",
            "city": rng.choice(CITIES),
            "postcode": f"{rng.randrange(10_000, 99_999)}",
        },
        "plan": rng.choice(("free", "team", "enterprise")),
        "features": {"beta": rng.random() < 0.5, "export": True, "seats": rng.randrange(1, 90)},
        "balance_cents": rng.randrange(10**6),
        "last_login_ip": ".".join(str(rng.randrange(256)) for _ in range(4)),
    }


async def rows() -> AsyncIterator[Row]:
    """Measure stored bytes, and the times of put and get, with a dictionary and without."""
    with_dictionary, without = MemoryStore(), MemoryStore()
    trained = stack().compress(min_size=0, dictionaries=True).over(with_dictionary)
    plain = stack().compress(min_size=0).over(without)
    names = [f"account:{number}" for number in range(2_000)]
    for store in (trained, plain):
        await store.put_many(names, [account(number) for number in range(2_000)])
    await trained.find(Compression).train()
    fresh = [f"account:{number}" for number in range(5_000, 6_000)]
    values = [account(number) for number in range(5_000, 6_000)]
    await trained.put_many(fresh, values)
    await plain.put_many(fresh, values)
    assert await trained.get_many(fresh) == values
    sizes = []
    for backend in (with_dictionary, without):
        entries = await backend.read(None, fresh)
        sizes.append(sum(len(entry.body) for entry in entries if entry) / len(fresh))
    fraction = sizes[0] / sizes[1]
    yield Row(
        "a trained dictionary on 380-byte values: bytes, compared with zstd without",
        f"{sizes[0]:.0f} bytes",
        f"{sizes[1]:.0f} bytes",
        f"{fraction:.0%}",
        "at most 45%",
        fraction <= 0.45,
    )

    def putting(store: Store) -> Work:
        async def work(count: int) -> None:
            for number in range(count):
                await store.put("account:1", values[number % 1000])

        return work

    def getting(store: Store) -> Work:
        async def work(count: int) -> None:
            for number in range(count):
                await store.get(fresh[number % 1000])

        return work

    for name, work in (("put", putting), ("get", getting)):
        measured = await pair(work(trained), work(plain), COUNT // 4, COUNT // 4)
        yield ratio(f"the same: {name}, compared with zstd without", measured, 1.0, "1.00")
