"""Add encryption and metrics to a Redis that already holds plain data, without downtime.

    python -m examples.encrypt_existing_redis redis://localhost:6379/0

Another program wrote JSON into Redis. The stack reads that JSON and writes encrypted entries.
`rewrite` encrypts the existing entries while readers and writers continue. When its report shows
no plain entry, `accept_plaintext` is removed, and plain data is refused.
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
    """Write plain JSON into Redis, as a program without kvwrap does."""
    for number in range(USERS):
        user = {"name": f"user {number}", "email": f"user{number}@example.org", "visits": 0}
        await client.set(f"user:{number}", json.dumps(user))


def encrypted_users(keyring: Keyring, *, migrating: bool) -> Stack:
    """Build the stack. While `migrating`, it also reads entries that are not encrypted yet."""
    layers = stack().statistics(name="users").serialize("json")
    layers = layers.encrypt(keyring, accept_plaintext=migrating)
    return layers.silence("migration-open")


async def main(url: str) -> None:
    """Encrypt all entries while another task reads and changes them."""
    client = redis.asyncio.Redis.from_url(url)
    await another_program(client)
    keyring = Keyring({"2026-11": Keyring.generate_key()})

    async with encrypted_users(keyring, migrating=True).over(RedisStore(url, raw=True)) as users:
        print("plain entries can be read:", await users.get("user:7"))

        stop = asyncio.Event()
        visits = 0

        async def visit() -> None:
            nonlocal visits
            while not stop.is_set():
                number = visits % USERS
                user = await users.get_versioned(f"user:{number}")
                assert user is not None
                changed = {**user.value, "visits": user.value["visits"] + 1}
                if await users.compare_and_put(f"user:{number}", changed, user.version):
                    visits += 1

        visits_task = asyncio.create_task(visit())
        report = await rewrite(users, prefix="user:")
        stop.set()
        await visits_task
        print(f"rewrite: {report.rewritten} of {report.seen} entries, during {visits} visits")

        counted = sum([user["visits"] async for _, user in users.items(prefix="user:")])
        assert counted == visits, f"{visits - counted} visits were lost"

        registry = CollectorRegistry()
        register(users, registry=registry)
        metrics = generate_latest(registry).decode()
        print(next(line for line in metrics.splitlines() if line.startswith("kvwrap_operations")))

    raw = await client.get("user:7")
    assert isinstance(raw, bytes)
    assert b"example.org" not in raw
    async with encrypted_users(keyring, migrating=False).over(RedisStore(url, raw=True)) as users:
        assert (await users.require("user:7"))["email"] == "user7@example.org"
        await client.set("user:7", json.dumps({"name": "forged"}))
        try:
            await users.get("user:7")
        except DecryptionError as error:
            print("plain entries are now refused:", error)
    await client.delete(*[f"user:{number}" for number in range(USERS)])
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if sys.argv[1:] else "redis://localhost:6379/0"))
