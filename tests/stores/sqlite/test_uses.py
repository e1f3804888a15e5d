"""The counters of uses that processes share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kvwrap.stores.shared.s3fifo import MOST_USES
from kvwrap.stores.sqlite.uses import Uses, hash_name

NAMES = [hash_name(b"/%d" % number) for number in range(1000)]


def test_uses_are_counted_up_to_a_number_and_set() -> None:
    uses = Uses(None, 1000)
    for _ in range(MOST_USES + 2):
        uses.note(NAMES[0])
    assert [uses.get(NAMES[0]), uses.get(NAMES[1])] == [MOST_USES, 0]
    uses.set(NAMES[0], 1)
    assert uses.get(NAMES[0]) == 1
    uses.set(NAMES[0], 0)
    uses.set(NAMES[1], 0)
    assert [uses.get(NAMES[0]), uses.get(NAMES[1])] == [0, 0]
    uses.close()


def test_names_hardly_ever_take_the_place_of_others() -> None:
    uses = Uses(None, 1000)
    for name in NAMES:
        uses.note(name)
    assert sum(uses.get(name) == 1 for name in NAMES) > 930
    uses.close()


def test_a_name_with_the_fewest_uses_is_forgotten() -> None:
    uses = Uses(None, 0)
    together = [hash_name(b"/0") + (number << 34) for number in range(5)]
    for name in together[:4]:
        uses.set(name, 2)
    uses.set(together[2], 1)
    uses.note(together[4])
    assert [uses.get(name) for name in together] == [2, 2, 0, 2, 1]
    uses.close()


def test_names_that_were_evicted_are_remembered_once() -> None:
    uses = Uses(None, 1000)
    uses.remember(NAMES[5])
    assert [uses.take(NAMES[4]), uses.take(NAMES[5]), uses.take(NAMES[5])] == [False, True, False]
    uses.close()


def test_processes_see_the_uses_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / "uses"
    one, two = Uses(path, 1000), Uses(path, 3000)
    one.note(NAMES[0])
    two.remember(NAMES[1])
    assert two.get(NAMES[0]) == 1
    assert one.take(NAMES[1]) is True
    one.close()
    two.close()
    again = Uses(path, 1000)
    assert again.get(NAMES[0]) == 1
    again.close()
    assert [file.name for file in tmp_path.iterdir()] == ["uses"]


@pytest.mark.parametrize("content", [b"", b"x" * 11])
def test_a_file_of_another_size_is_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "uses"
    path.write_bytes(content)
    small = Uses(path, 1000)
    large = Uses(path, 100_000, 0o660)
    assert path.stat().st_size == 1_200_000
    small.note(NAMES[0])
    assert large.get(NAMES[0]) == 0
    small.close()
    large.close()
    assert path.stat().st_mode & 0o777 == 0o660


def test_processes_that_start_at_once_share_one_file(tmp_path: Path) -> None:
    path = tmp_path / "uses"
    with ThreadPoolExecutor(8) as threads:
        all_uses = list(threads.map(lambda _: Uses(path, 1000), range(8)))
    all_uses[0].note(NAMES[0])
    assert [uses.get(NAMES[0]) for uses in all_uses] == [1] * 8
    for uses in all_uses:
        uses.close()
    assert [file.name for file in tmp_path.iterdir()] == ["uses"]


def test_without_a_file_a_process_counts_alone(tmp_path: Path) -> None:
    uses = Uses(tmp_path / "missing" / "uses", 1000)
    uses.note(NAMES[0])
    assert uses.get(NAMES[0]) == 1
    uses.close()
