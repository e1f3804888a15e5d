"""Encryption and metrics for a Redis that holds plain data already, without downtime.

    python -m examples.encrypt_existing_redis redis://localhost:6379/0

Another program wrote JSON into Redis. The stack reads it as it is, writes encrypted, and
`rewrite` brings the old entries over while readers and writers go on. When the report says
that nothing plain is left, `accept_plaintext` goes, and plain data is refused.
"""

from __future__ import annotations

import asyncio
import json
import sys

import redis.asyncio
from prometheus_client import CollectorRegistry, generate_latest

from kvwrap import DecryptionError, Keyring, RedisStore, Stack, rewrite, stack
from kvwrap.integrations.prometheus import register

USERS = 500


async def another_program(client: redis.asyncio.Redis) -> None:
    """Writes plain JSON, as it always has."""
    for number in range(USERS):
        user = {"name": f"user {number}", "email": f"user{number}@example.org", "visits": 0}
        await client.set(f"user:{number}", json.dumps(user))


def protected(keyring: Keyring, *, migrating: bool) -> Stack:
    """The stack; while `migrating`, it reads what is not encrypted yet."""
    layers = stack().statistics(name="users").serialize("json")
    layers = layers.encrypt(keyring, accept_plaintext=migrating)
    return layers.silence("migration-open")


async def main(url: str) -> None:
    """Migrate, with a reader and a writer at work all the while."""
    client = redis.asyncio.Redis.from_url(url)
    await another_program(client)
    keyring = Keyring({"2026-11": Keyring.generate_key()})

    async with protected(keyring, migrating=True).over(RedisStore(url, raw=True)) as users:
        print("plain data reads as it is:", await users.get("user:7"))

        stop = asyncio.Event()
        visits = 0

        async def visitor() -> None:
            nonlocal visits
            while not stop.is_set():
                number = visits % USERS
                seen = await users.get_versioned(f"user:{number}")
                assert seen is not None
                changed = {**seen.value, "visits": seen.value["visits"] + 1}
                if await users.compare_and_put(f"user:{number}", changed, seen.version):
                    visits += 1

        visiting = asyncio.create_task(visitor())
        report = await rewrite(users)
        stop.set()
        await visiting
        print(f"rewrite: {report.rewritten} of {report.seen} entries, {visits} visits meanwhile")

        counted = sum([user["visits"] async for _, user in users.items(prefix="user:")])
        assert counted == visits, f"{visits - counted} visits were lost"

        registry = CollectorRegistry()
        register(users, registry=registry)
        metrics = generate_latest(registry).decode()
        print(next(line for line in metrics.splitlines() if line.startswith("kvwrap_operations")))

    raw = await client.get("user:7")
    assert isinstance(raw, bytes)
    assert b"example.org" not in raw
    async with protected(keyring, migrating=False).over(RedisStore(url, raw=True)) as users:
        assert (await users.require("user:7"))["email"] == "user7@example.org"
        await client.set("user:7", json.dumps({"name": "forged"}))
        try:
            await users.get("user:7")
        except DecryptionError as error:
            print("plain data is refused now:", error)
    await client.delete(*[f"user:{number}" for number in range(USERS)])
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if sys.argv[1:] else "redis://localhost:6379/0"))
