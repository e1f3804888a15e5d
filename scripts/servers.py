"""Install the servers that the tests need, unless they are installed already.

A server on the PATH is used as it is. A missing one is installed from the distribution's
packages if that is allowed (as root, or by sudo without a password). Otherwise its packages are
downloaded and unpacked into the virtual environment, where only the tests find them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from kvwrap.testing.servers import UNPACKED, environment_of, find_server

SERVERS = {"redis-server": "redis-server"}
"""The package that contains each server's program."""

_POLICY = Path("/usr/sbin/policy-rc.d")
_TIMEOUT = 600


class SetupError(Exception):
    """A command or a method of installing a server failed."""


def run(*command: str, folder: Path | None = None) -> str:
    """Run a command. Returns its output; raises `SetupError` with its last lines if it failed."""
    try:
        result = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"{command[0]}: {error}") from error
    if result.returncode:
        last_lines = (result.stderr or result.stdout).strip().splitlines()[-3:]
        raise SetupError(f"{' '.join(command[:3])}: {' / '.join(last_lines)}")
    return result.stdout


@contextlib.contextmanager
def without_services() -> Iterator[None]:
    """Keep Debian from starting the services of installed packages: tests start their own."""
    if os.geteuid() != 0 or _POLICY.exists() or not _POLICY.parent.is_dir():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)


def install(packages: Sequence[str]) -> None:
    """Install packages with apt-get, as root or by sudo."""
    if os.geteuid() == 0:
        privileged: tuple[str, ...] = ()
    elif shutil.which("sudo"):
        privileged = ("sudo", "-n")
    else:
        raise SetupError("apt-get install needs root, and sudo is not installed")
    with without_services():
        run(*privileged, "apt-get", "update", "-q")
        run(
            *privileged,
            *("apt-get", "install", "-q", "-y", "--no-install-recommends"),
            *packages,
        )


def unpack(packages: Sequence[str], target: Path = UNPACKED) -> None:
    """Download packages and their missing dependencies, and unpack them into `target`."""
    with tempfile.TemporaryDirectory(prefix="kvwrap-servers-") as name:
        folder = Path(name)
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        # Separate package lists: those of the machine may be missing, and belong to root.
        options = (
            *("-o", f"Dir::State::lists={folder / 'lists'}"),
            *("-o", f"Dir::Cache={folder / 'cache'}"),
            *("-o", "APT::Sandbox::User="),
        )
        run("apt-get", *options, "update", "-q")
        plan = run(
            "apt-get", *options, "install", "--simulate", "--no-install-recommends", *packages
        ).splitlines()
        needed = {line.split()[1] for line in plan if line.startswith("Inst ")}
        run("apt-get", *options, "download", *sorted(needed.union(packages)), folder=folder)
        target.mkdir(parents=True, exist_ok=True)
        for package in sorted(folder.glob("*.deb")):
            run("dpkg", "-x", str(package), str(target))


def works(name: str) -> bool:
    """Run the server's program with --version. Returns False if it is missing or fails."""
    program = find_server(name)
    if program is None:
        return False
    command = [str(program), "--version"]
    try:
        return not subprocess.run(
            command, env=environment_of(program), capture_output=True, timeout=60, check=False
        ).returncode
    except (OSError, subprocess.TimeoutExpired):
        return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Install the servers that are missing. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Install the servers that the tests need.")
    parser.add_argument(
        "--optional",
        action="store_true",
        help="exit with 0 even if a server cannot be installed",
    )
    optional: bool = parser.parse_args(arguments).optional
    missing = [name for name in SERVERS if not works(name)]
    if not missing:
        return 0
    names = ", ".join(missing)
    print(f"installing {names} ...", flush=True)
    failures = []
    for method in (install, unpack):
        try:
            method([SERVERS[name] for name in missing])
        except SetupError as error:
            failures.append(f"  {method.__name__}: {error}")
            continue
        if all(map(works, missing)):
            return 0
        failures.append(f"  {method.__name__}: succeeded, but {names} does not start")
    print(f"{names} could not be installed:", *failures, sep="\n", file=sys.stderr)
    if optional:
        print("continuing without it: the embedded stores are used instead", file=sys.stderr)
        return 0
    print(
        f"install {names} yourself (on Debian: apt-get install {' '.join(SERVERS.values())}), "
        "or put it on the PATH, then run this again",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
