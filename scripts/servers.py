"""Makes sure that the servers which the tests run against are on this machine.

A server on the PATH is used as it is. A missing one is installed from the distribution's
packages where that is allowed (as root, or by sudo without a password), and otherwise
downloaded and unpacked into the virtual environment, where nothing but the tests sees it.
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
"""The package that holds each server's program."""

_POLICY = Path("/usr/sbin/policy-rc.d")
_TIMEOUT = 600


class SetupError(Exception):
    """One way of getting a server did not work."""


def run(*command: str, folder: Path | None = None) -> str:
    """What the command printed; raises `SetupError` with its last words if it failed."""
    try:
        done = subprocess.run(
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
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise SetupError(f"{' '.join(command[:3])}: {' / '.join(words)}")
    return done.stdout


@contextlib.contextmanager
def services_left_alone() -> Iterator[None]:
    """Keep Debian from starting the services of what is installed: tests start their own."""
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
    """Install by apt-get, as root or by sudo."""
    if os.geteuid() == 0:
        privileged: tuple[str, ...] = ()
    elif shutil.which("sudo"):
        privileged = ("sudo", "-n")
    else:
        raise SetupError("installing needs root, and there is no sudo")
    with services_left_alone():
        run(*privileged, "apt-get", "update", "-q")
        run(
            *privileged,
            *("apt-get", "install", "-q", "-y", "--no-install-recommends"),
            *packages,
        )


def unpack(packages: Sequence[str], target: Path = UNPACKED) -> None:
    """Download packages, with what they need and is not installed, and unpack them in `target`."""
    with tempfile.TemporaryDirectory(prefix="kvwrap-servers-") as name:
        folder = Path(name)
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        # Lists of our own, since those of the machine may be missing, and are root's.
        own = (
            *("-o", f"Dir::State::lists={folder / 'lists'}"),
            *("-o", f"Dir::Cache={folder / 'cache'}"),
            *("-o", "APT::Sandbox::User="),
        )
        run("apt-get", *own, "update", "-q")
        plan = run(
            "apt-get", *own, "install", "--simulate", "--no-install-recommends", *packages
        ).splitlines()
        needed = {line.split()[1] for line in plan if line.startswith("Inst ")}
        run("apt-get", *own, "download", *sorted(needed.union(packages)), folder=folder)
        target.mkdir(parents=True, exist_ok=True)
        for package in sorted(folder.glob("*.deb")):
            run("dpkg", "-x", str(package), str(target))


def works(name: str) -> bool:
    """Whether the server's program is there and starts."""
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
    """Set up what is missing; the exit code."""
    parser = argparse.ArgumentParser(description="Set up the servers that the tests need.")
    parser.add_argument(
        "--optional",
        action="store_true",
        help="a server that cannot be set up is no failure",
    )
    optional: bool = parser.parse_args(arguments).optional
    missing = [name for name in SERVERS if not works(name)]
    if not missing:
        return 0
    names = ", ".join(missing)
    print(f"setting up {names} ...", flush=True)
    failures = []
    for way in (install, unpack):
        try:
            way([SERVERS[name] for name in missing])
        except SetupError as error:
            failures.append(f"  {way.__name__}: {error}")
            continue
        if all(map(works, missing)):
            return 0
        failures.append(f"  {way.__name__}: done, but {names} does not start")
    print(f"{names} could not be set up:", *failures, sep="\n", file=sys.stderr)
    if optional:
        print("going on without: the embedded stores serve instead", file=sys.stderr)
        return 0
    print(
        f"install {names} by hand (on Debian: apt-get install {' '.join(SERVERS.values())}), "
        "or put it on the PATH, then run this again",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
