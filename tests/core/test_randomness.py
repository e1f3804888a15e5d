"""Versions: random numbers of the system, which no process repeats."""

from __future__ import annotations

import os
import random
import signal

from kvwrap.core.randomness import new_version


def test_versions_are_distinct_and_have_64_bits() -> None:
    versions = {new_version() for _ in range(2_000)}
    assert len(versions) == 2_000
    assert all(0 <= version < 2**64 for version in versions)
    assert max(versions) > 2**63


def test_a_seed_does_not_repeat_versions() -> None:
    random.seed(42)
    first = [new_version() for _ in range(600)]
    random.seed(42)
    assert not set(first) & {new_version() for _ in range(600)}


def test_a_forked_child_has_other_versions() -> None:
    new_version()  # so that a block exists before the fork
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, b"".join(new_version().to_bytes(8, "big") for _ in range(100)))
        os.kill(os.getpid(), signal.SIGKILL)  # no cleanup of the parent's resources
    os.waitpid(child, 0)
    data = os.read(reader, 800)
    os.close(reader)
    os.close(writer)
    theirs = {int.from_bytes(data[index : index + 8], "big") for index in range(0, 800, 8)}
    assert len(theirs) == 100
    assert not theirs & {new_version() for _ in range(600)}
