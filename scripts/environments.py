"""Run tests in environments of their own: other versions of Python, and of a library.

The environments are in a cache that all checkouts share, so that only the first run installs them.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kvwrap.testing.servers import server_cache

ROOT = Path(__file__).parents[1]

FAST = ("-m", "not server and not slow")
KEY_VALUE = (
    "tests/stores/key_value",
    "tests/integrations/test_py_key_value.py",
    "tests/contract",
    "tests/parity/test_py_key_value.py",
    "tests/parity/test_py_key_value_parts.py",
)


@dataclass(frozen=True)
class Environment:
    """An environment, and the tests that run in it.

    Attributes:
        name: Its name, and that of its folder.
        python: Version of Python, such as "3.12"; empty for the one that runs this program.
        group: The dependency group of `pyproject.toml` that is installed.
        tests: Arguments of pytest that select the tests.
    """

    name: str
    python: str
    group: str
    tests: tuple[str, ...]


ENVIRONMENTS = (
    Environment("python3.12", "3.12", "dev", FAST),
    Environment("python3.13", "3.13", "dev", FAST),
    Environment(
        "key-value-0.5", "", "key-value-next", (*KEY_VALUE, "-k", "key_value or key-value")
    ),
)


def find_python(version: str) -> str | None:
    """Find a Python of this version, on the PATH or under pyenv. Returns None if it is missing."""
    if not version:
        return sys.executable
    for candidate in _candidates(version):
        try:
            result = subprocess.run(
                [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        except OSError:
            continue
        # A shim of pyenv is there for versions that are not active, and fails.
        if result.stdout.strip() == version:
            return candidate
    return None


def _candidates(version: str) -> Iterator[str]:
    on_the_path = shutil.which(f"python{version}")
    if on_the_path:
        yield on_the_path
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for folder in sorted(pyenv.glob(f"versions/{version}.*"), reverse=True):
        yield str(folder / "bin" / "python")


def run(environment: Environment, options: Sequence[str] = ()) -> int:
    """Run an environment's tests, after installing what is missing. Returns the exit code.

    A second process waits until the first one has left the environment.
    """
    python = find_python(environment.python)
    if python is None:
        print(f"{environment.name} is skipped: it is neither on the PATH nor under pyenv")
        return 0
    folder = server_cache().with_name("environments") / environment.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{environment.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        program = install(environment, python, folder)
        print(f"testing in {environment.name} ...", flush=True)
        return subprocess.run(
            [program, "-m", "pytest", "-q", "-n", "auto", *environment.tests, *options],
            cwd=ROOT,
            # Another checkout may have installed the environment.
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        ).returncode


def install(environment: Environment, python: str, folder: Path) -> Path:
    """Install a virtual environment with kvwrap's requirements, unless that was done already.

    Returns its Python.
    """
    content = (ROOT / "pyproject.toml").read_bytes() + f"{python} {environment}".encode()
    digest = hashlib.sha256(content).hexdigest()
    installed = folder / ".installed"
    program = folder / "bin" / "python"
    if installed.exists() and installed.read_text() == digest:
        return program
    print(f"installing {environment.name} ...", flush=True)
    pip = (program, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    subprocess.run([*pip, "--upgrade", "pip>=25.1"], check=True)
    subprocess.run(
        [*pip, "--editable", f"{ROOT}[all]", "--group", environment.group], cwd=ROOT, check=True
    )
    installed.write_text(digest)
    return program


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tests of all environments, or of those that are named. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.environments", description=(__doc__ or "").partition("\n")[0]
    )
    names = [environment.name for environment in ENVIRONMENTS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument(
        "--options", default="", help="more options of pytest, such as --options='-x -n 2'"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.names).difference(names):
        parser.error(f"no such environment: {', '.join(unknown)}; there are {', '.join(names)}")
    failed = [
        environment.name
        for environment in ENVIRONMENTS
        if environment.name in (options.names or names)
        and run(environment, options.options.split())
    ]
    if failed:
        print(f"tests failed in {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
