"""A layered store built in code: sessions, compressed and encrypted in a SQLite file.

    python -m examples.layered_store [FILE]

Its keys are in the environment variable SESSION_KEYS (`kvwrap keygen` prints one); without it
they are made anew, and a FILE of an earlier run cannot be read.

Reads come from memory for half a minute, lifetimes stay between a minute and a day, and
whoever opens the file sees neither names of users nor what they did.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from kvwrap import Keyring, MemoryStore, SQLiteStore, Statistics, stack


async def main(path: Path) -> None:
    """Log three users in, look at their sessions, and say what happened where."""
    kept = "SESSION_KEYS" in os.environ
    keyring = Keyring.from_env("SESSION_KEYS") if kept else Keyring.generate("2026")
    sessions = (
        stack()
        .statistics(name="sessions")
        .read_through(MemoryStore(max_entries=50_000), ttl=30, negative_ttl=5)
        .clamp_ttl(minimum=60, maximum=86_400, default=3_600)
        .prefix_collection("sessions-")
        .compress(min_size=128)
        .encrypt(keyring)
        .over(SQLiteStore(path))
    )
    async with sessions:
        for number, user in enumerate(("ada", "grace", "edsger")):
            seen = ["/", "/docs", "/cart"] * (number + 20)
            value = {"user": user, "seen": seen}
            await sessions.put(f"session:{user}", value, collection="web", ttl=1_800)

        session = await sessions.require("session:ada", collection="web")
        print(f"ada has been on {len(session['seen'])} pages")
        print(f"grace is logged in: {await sessions.exists('session:grace', collection='web')}")
        print(f"nobody is not: {await sessions.get('session:nobody', collection='web')}")
        print(f"logins today: {await sessions.increment('logins', 3)}")

        reads = sessions.find(Statistics).snapshot().reads
        print(f"{reads.hits} hits and {reads.misses} misses\n")
        print(sessions.explain())

    at_rest = path.read_bytes()
    assert b"ada" not in at_rest.replace(b"session:ada", b""), "a name is readable in the file"
    print(f"\n{path.name} holds {len(at_rest)} bytes, and no name but those of the keys")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(sys.argv[1]) if sys.argv[1:] else Path(folder, "sessions.db")))
