"""Build a layered store in code: sessions, compressed and encrypted in a SQLite file.

    python -m examples.layered_store [FILE]

The encryption keys are read from the environment variable SESSION_KEYS (`kvwrap keygen` prints a
key). Without it a new key is generated, and a FILE of an earlier run cannot be read.

Reads are served from memory for 30 seconds, and ttls are limited to between one minute and one
day. In the file, names of users are readable only in keys, and what they did is not readable.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from kvwrap import Keyring, MemoryStore, SQLiteStore, Statistics, stack


async def main(path: Path) -> None:
    """Log in three users, read their sessions, and print where the reads were answered."""
    has_keys = "SESSION_KEYS" in os.environ
    keyring = Keyring.from_env("SESSION_KEYS") if has_keys else Keyring.generate("2026")
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
            pages = ["/", "/docs", "/cart"] * (number + 20)
            value = {"user": user, "pages": pages}
            await sessions.put(f"session:{user}", value, collection="web", ttl=1_800)

        session = await sessions.require("session:ada", collection="web")
        print(f"ada has visited {len(session['pages'])} pages")
        print(f"grace is logged in: {await sessions.exists('session:grace', collection='web')}")
        print(f"session of nobody: {await sessions.get('session:nobody', collection='web')}")
        print(f"logins today: {await sessions.increment('logins', 3)}")

        reads = sessions.find(Statistics).snapshot().reads
        print(f"{reads.hits} hits and {reads.misses} misses\n")
        print(sessions.explain())

    content = path.read_bytes()
    assert b"ada" not in content.replace(b"session:ada", b""), "a user name is readable in the file"
    print(f"\n{path.name} has {len(content)} bytes; user names are readable only in keys")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(sys.argv[1]) if sys.argv[1:] else Path(folder, "sessions.db")))
