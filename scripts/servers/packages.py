"""Servers from the distribution's packages: installed, or unpacked where that is not allowed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kvwrap.testing.servers import UNPACKED
from scripts.servers.commands import SetupError, run

_POLICY = Path("/usr/sbin/policy-rc.d")


@dataclass(frozen=True)
class Package:
    """A package of the distribution.

    Attributes:
        name: Its name on Debian and Ubuntu.
    """

    name: str
    is_slow = False

    @property
    def advice(self) -> str:
        """What to do if it cannot be installed."""
        return f"install it yourself (on Debian: apt-get install {self.name})"


def install(packages: Sequence[str]) -> None:
    """Install packages with apt-get, as root or by sudo."""
    if os.geteuid() == 0:
        privileged: tuple[str, ...] = ()
    elif shutil.which("sudo"):
        privileged = ("sudo", "-n")
    else:
        raise SetupError("apt-get install needs root, and sudo is not installed")
    with _without_services():
        run(*privileged, "apt-get", "update", "-q")
        run(
            *privileged,
            *("apt-get", "install", "-q", "-y", "--no-install-recommends"),
            *("-o", "DPkg::Lock::Timeout=300"),
            *packages,
        )


@contextlib.contextmanager
def _without_services() -> Iterator[None]:
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
            run("dpkg", "-x", package, target)
