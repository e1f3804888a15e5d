"""Every reader of bytes ends in an error of kvwrap or a right value, in bounded time and memory."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvwrap import KvwrapError, StackWarning
from tests.conftest import SOAK
from tests.mutations import mutations
from tests.stacks.hostile_readers import READERS, Place, Reader

TRIALS = 1_000_000 if SOAK else 100_000
MOST_SECONDS = 0.5
MOST_BYTES = 100 * 2**20


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def trial(reader: Reader, data: bytes) -> str:
    """Read the bytes. Returns what is wrong, or an empty text."""
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        reader.read(data)
    except KvwrapError:
        pass
    except Exception as error:  # any other error is the fault
        return f"{type(error).__module__}.{type(error).__qualname__}: {error}"
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    seconds = time.process_time() - started
    if seconds > MOST_SECONDS or taken > MOST_BYTES:
        return f"{seconds:.2f} s and {taken / 2**20:.0f} MB"
    return ""


def faults(name: str, place: Place, trials: int) -> Iterator[str]:
    reader = READERS[name](place)
    reader.read(reader.seeds[0])  # right, so that mutations reach what is behind the first check
    for data in mutations(reader.seeds, trials * reader.share // 1000, name, reader.mutator):
        if fault := trial(reader, data):
            yield f"{name}: {fault} for {data[:2000].hex()}"


@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
@pytest.mark.parametrize("name", READERS)
def test_mutations_end_in_errors_of_kvwrap(
    name: str, tmp_path: Path, runner: asyncio.Runner
) -> None:
    assert not (fault := next(faults(name, Place(tmp_path, runner.run), TRIALS), "")), fault


@pytest.mark.skipif(sys.platform != "linux", reason="units and limits are those of Linux")
def test_mutations_take_little_time_and_memory() -> None:
    """In a process of its own, whose memory no other test has raised before."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.stacks.test_hostile_bytes", str(TRIALS // 20)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def main(trials: int) -> int:
    """Print the faults of all readers. Returns their number."""
    warnings.simplefilter("ignore", StackWarning)
    resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))  # a bomb does not hurt others
    count = 0
    with asyncio.Runner() as runner, tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(READERS):
            place = Place(Path(folder, str(number)), runner.run)
            place.folder.mkdir()
            for fault in faults(name, place, trials):
                print(fault)
                count += 1
    return count


if __name__ == "__main__":
    sys.exit(min(main(int(sys.argv[1])), 1))
