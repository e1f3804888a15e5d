"""A service of Redis for tests: a primary, its replica, and three Sentinels that watch them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from kvwrap.testing.servers.group import ServerGroup, wait_until
from kvwrap.testing.servers.redis import RedisServer


class Replica(RedisServer):
    """A server that begins as the replica of another one."""

    def __init__(self, primary: RedisServer, *arguments: str, program: str) -> None:
        super().__init__(*arguments, program=program)
        self._primary = primary

    def command(self, folder: Path) -> Sequence[str]:
        return [*super().command(folder), "--replicaof", "127.0.0.1", str(self._primary.port)]


class SentinelMember(RedisServer):
    """A Sentinel, which notices after a second that the primary is gone."""

    def __init__(self, service: str, primary: RedisServer, *, program: str) -> None:
        super().__init__(program=program)
        self._service = service
        self._primary = primary

    def command(self, folder: Path) -> Sequence[str]:
        path = folder / "sentinel.conf"
        path.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor {self._service} 127.0.0.1 {self._primary.port} 2\n"
            f"sentinel down-after-milliseconds {self._service} 1000\n"
            f"sentinel failover-timeout {self._service} 3000\n"
        )
        return [str(path), "--sentinel"]


class RedisSentinel(ServerGroup):
    """A service called `main`, empty, whose servers write no data to disk.

    Args:
        arguments: Additional arguments for the command lines of primary and replica.
        program: Name or path of the program to run instead of `redis-server`.

    Attributes:
        service: Name of the service.
        primary: The server that begins as the primary.
        replica: The server that begins as its replica.
        sentinels: The three Sentinels.

    Raises:
        ConfigurationError: `redis-server` is not installed.
    """

    program_name: ClassVar[str] = "redis-server"
    scheme: ClassVar[str] = "redis+sentinel"
    service: ClassVar[str] = "main"

    def __init__(self, *arguments: str, program: str | None = None) -> None:
        super().__init__(*arguments, program=program)
        path = str(self.program)
        self.primary = RedisServer("--repl-diskless-sync-delay", "0", *arguments, program=path)
        self.replica = Replica(self.primary, *arguments, program=path)
        self.sentinels = [
            SentinelMember(self.service, self.primary, program=path) for _ in range(3)
        ]

    @property
    def members(self) -> Sequence[RedisServer]:
        return [self.primary, self.replica, *self.sentinels]

    @property
    def url(self) -> str:
        """The URL, which names all Sentinels."""
        addresses = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"{self.scheme}://{addresses}/{self.service}"

    def join(self) -> None:
        wait_until(
            lambda: b"connected" in self.replica.run("ROLE"),
            "the replica did not find its primary",
        )
        wait_until(self._is_ready, "the Sentinels did not find each other")

    def _is_ready(self) -> bool:
        return all(
            sentinel.run(f"SENTINEL CKQUORUM {self.service}").startswith(b"+OK 3 ")
            and sentinel.run(f"SENTINEL REPLICAS {self.service}").startswith(b"*1")
            for sentinel in self.sentinels
        )
