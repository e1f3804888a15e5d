"""Reports of rewrites: failures, unknown keys, names that would steer a terminal."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kvwrap import (
    Keyring,
    MemoryStore,
    SQLiteStore,
    ValueTooLarge,
    adapt,
    rewrite,
    stack,
)
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected
from kvwrap.layers.base import Transform
from kvwrap.rewriting.rewrite import Failure, Report
from tests.rewriting.entries import NEW, OLD

pytestmark = pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")


async def test_equal_failures_are_one_line() -> None:
    base = MemoryStore()
    await stack().encrypt(OLD).over(base).put_many([f"k{n:02}" for n in range(25)], [1] * 25)
    report = await rewrite(stack().encrypt(Keyring.generate("other")).over(base))
    assert (report.failed, len(report.failures), len(report.reasons)) == (25, 25, 1)
    (line,) = [line for line in str(report).splitlines() if line.startswith("failed")]
    assert "25: DecryptionError: the entry is sealed with key id" in line
    assert "'k00' in the default collection, 'k01' in the default collection" in line
    assert line.endswith("22 more)")


async def test_a_single_failure_names_its_key() -> None:
    report = Report()
    report.count_failure("users", "k", "CorruptEntry: truncated")
    assert "failed        'k' in 'users': CorruptEntry: truncated" in str(report)


def test_every_line_of_a_report() -> None:
    key, other = (codec.step(codec.ENCRYPTED, codec.fingerprint(name)) for name in ("a", "b"))
    trained = codec.step(codec.ZSTD_DICTIONARY, b"\x01\x02\x03\x04")
    report = Report(seen=1234, rewritten=1200, current=30, gone=3, failed=0, foreign=7)
    report.names = {key[1:].hex(): "a", codec.fingerprint("c").hex(): "c"}
    report.primary = ["a"]
    for form, count in ((key, 2), (key + trained, 3), (other, 4), (codec.JSON, 5)):
        for _ in range(count):
            report.count_form(codec.annotation(codec.WRITE_DATE) + form)
    report.counts_of(None).seen = 1234
    report.counts_of(None).rewritten = 1200
    report.counts_of("users")
    unknown = f"id {codec.fingerprint('b').hex()}"
    lines = [
        "entries       1,234 seen, 1,200 rewritten, 30 current, 3 gone meanwhile",
        f"keys          a: 5, {unknown}: 4",
        "dictionaries  01020304: 3",
        "unencrypted   5",
        "foreign       7 values of other programs rewritten",
        "in            the default collection: 1,234 seen, 1,200 rewritten",
        "in            'users': nothing found",
    ]
    assert str(report).splitlines() == [
        *lines,
        "not complete  part of the store was not examined",
    ]
    report.complete = True
    lines.insert(4, "not needed    c")
    assert str(report).splitlines() == lines
    report.dry_run = True
    shown = [line.replace(" rewritten", " would be rewritten") for line in lines]
    assert str(report).splitlines() == shown
    report.count_failure(None, "k", "why")
    report.count_failure("users", "k", "why")
    failed = "failed        2: why ('k' in the default collection, 'k' in 'users')"
    assert str(report).splitlines()[-1] == failed
    assert "not needed" not in str(report)
    assert report.collections["users"].seen == 0
    report.names = {}  # no layer of the stack encrypts
    assert "unencrypted" not in str(report)
    nothing = "entries       0 seen, 0 rewritten"
    assert str(Report(complete=True)) == nothing


async def test_reasons_and_failures_are_bounded() -> None:
    report = Report()
    for n in range(2500):
        report.count_failure(None, f"k{n}", f"reason {n}")
    assert (report.failed, sum(report.reasons.values())) == (2500, 2500)
    assert len(report.failures) == 1000
    assert len(report.reasons) == 1001
    assert len(str(report).splitlines()) < 30
    assert "981 more lines like these" in str(report)


def test_reasons_beyond_the_failures_that_are_kept_have_no_examples() -> None:
    report = Report()
    for reason, count in (("first", 1000), ("twice", 2), ("once", 1)):
        for n in range(count):
            report.count_failure(None, f"k{n}", reason)
    assert report.failed_lines()[1:] == ["failed        2: twice (2)", "failed        1: once"]


@pytest.mark.parametrize("dry_run", [True, False])
async def test_unknown_keys_are_in_the_report(dry_run: bool) -> None:
    base = MemoryStore()
    await stack().encrypt(OLD).over(base).put_many(["a", "b"], [1, 2])
    await stack().encrypt(Keyring.generate("mine")).over(base).put("c", 3)
    other = Keyring.generate("other")
    report = await rewrite(stack().encrypt(other).over(base), dry_run=dry_run)
    unknown = {f"id {codec.fingerprint(name).hex()}": n for name, n in (("old", 2), ("mine", 1))}
    assert report.keys == unknown
    assert report.unencrypted == 0
    assert report.retirable == []
    assert all(name in str(report) for name in unknown)


async def test_names_do_not_steer_the_terminal() -> None:
    base = MemoryStore()
    names = ["\x1b]0;OWNED\x07\x1b[2J", "user\u202egnp"]
    for name in names:
        await stack().encrypt(OLD).over(base).put(name, 1, collection=name)
    for keyring in (NEW, Keyring.generate("other")):
        shown = str(await rewrite(stack().encrypt(keyring).over(base), dry_run=True))
        assert all(char.isprintable() or char == "\n" for char in shown)
        assert r"'\x1b]0;OWNED\x07\x1b[2J'" in shown
        assert r"'user\u202egnp'" in shown


async def test_a_damaged_entry_does_not_prevent_the_others() -> None:
    mapping: dict[str, Any] = {}
    base = adapt(mapping)
    await stack().encrypt(OLD).over(base).put_many([f"k{n}" for n in range(10)], [1] * 10)
    mapping["k3"] = mapping["k3"][:-1]
    mapping["k4"] = b"\xabk"
    mapping["k5"] = object()
    mapping["caf\udce9"] = {"n": 2}  # as os.listdir makes them; no key can have this name
    report = await rewrite(stack().encrypt(NEW).over(base))
    assert (report.seen, report.rewritten, report.failed) == (10, 7, 3)
    assert {failure.key for failure in report.failures} == {"k3", "k4", "k5"}
    assert len(await base.keys()) == 10


async def test_an_entry_whose_codec_is_missing_does_not_prevent_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = MemoryStore()
    await stack().compress("lz4").encrypt(OLD).over(base).put("one", "x" * 500)
    await stack().compress().encrypt(OLD).over(base).put_many(["a", "b"], ["y" * 500] * 2)
    for name in ("lz4", "lz4.frame"):
        monkeypatch.setitem(sys.modules, name, None)
    report = await rewrite(stack().compress().encrypt(NEW).over(base))
    assert (report.rewritten, report.failed) == (2, 1)
    assert "lz4" in report.failures[0].reason
    assert report.keys == {"new": 2, "old": 1}


async def test_names_in_a_file_that_are_no_names_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with SQLiteStore(path) as base:
        await stack().encrypt(OLD).over(base).put("k", 1, collection="c")
    db = sqlite3.connect(path)
    db.execute("INSERT INTO kvwrap VALUES (x'ff', 'k', NULL, 1, x'00')")
    db.execute("INSERT INTO kvwrap VALUES ('c', x'ff', NULL, 1, x'00')")
    db.execute("INSERT INTO kvwrap VALUES ('c', 'text', NULL, 1, 'text')")
    db.commit()
    db.close()
    async with stack().encrypt(NEW).over(SQLiteStore(path)) as store:
        report = await rewrite(store)
    assert (report.seen, report.rewritten, report.failed) == (2, 1, 1)
    assert [failure.key for failure in report.failures] == ["text"]


class Failing(Transform):
    """Cannot encode the value 2 any more."""

    def __init__(self) -> None:
        self.fails = False

    def encode(self, entry: Entry, collection: Collection, key: str) -> Entry:
        if self.fails and entry.body == b"2":
            raise ValueTooLarge("too large")
        return entry


async def test_an_entry_that_cannot_be_encoded_does_not_prevent_the_others() -> None:
    base = MemoryStore()
    await stack().encrypt(OLD).over(base).put_many(["a", "b", "c"], [1, 2, 3])
    store = stack().layer(Failing()).encrypt(NEW).over(base)
    store.find(Failing).fails = True
    report = await rewrite(store)
    assert (report.rewritten, report.failed, report.keys) == (2, 1, {"new": 2, "old": 1})


class Small(MemoryStore):
    """Takes no entry of the key "b" once it is full."""

    full = False

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if self.full and "b" in keys:
            raise ValueTooLarge("too large", key="b")
        return await super().write(collection, keys, entries, expected)


async def test_an_entry_that_the_store_refuses_does_not_prevent_the_others() -> None:
    base = Small()
    await stack().encrypt(OLD).over(base).put_many(["a", "b", "c"], [1, 2, 3])
    base.full = True
    report = await rewrite(stack().encrypt(NEW).over(base))
    assert (report.rewritten, report.failed, report.keys) == (2, 1, {"new": 2, "old": 1})
    assert report.failures == [Failure(None, "b", "ValueTooLarge: too large")]


async def test_the_text_of_a_report() -> None:
    base = MemoryStore()
    store = stack().encrypt(NEW, accept_plaintext=True).over(base)
    assert str(await rewrite(store)).splitlines() == [
        "entries       0 seen, 0 rewritten",
        "not needed    old",
    ]
    await base.put_many(["a", "b"], [1, 2], collection="c")
    await stack().encrypt(OLD).over(base).put("k", 1)
    await store.put("l", 1)
    assert str(await rewrite(store, dry_run=True)).splitlines() == [
        "entries       4 seen, 3 would be rewritten, 1 current",
        "keys          new: 1, old: 1",
        "unencrypted   2",
        "in            the default collection: 2 seen, 1 would be rewritten",
        "in            'c': 2 seen, 2 would be rewritten",
    ]
    assert str(await rewrite(store, collections=["c"])).splitlines() == [
        "entries       2 seen, 2 rewritten",
        "keys          new: 2",
        "in            'c': 2 seen, 2 rewritten",
        "not complete  part of the store was not examined",
    ]


async def test_keys_that_are_fetched_are_known_by_name() -> None:
    """The store need not be open before."""
    base = MemoryStore()
    await stack().encrypt(OLD).over(base).put("k", 1)
    fetched = Keyring.from_callable(lambda: NEW)
    report = await rewrite(stack().encrypt(fetched).over(base))
    assert (report.primary, report.keys, report.retirable) == (["new"], {"new": 1}, ["old"])


async def test_keys_are_known_by_name_while_the_rewrite_runs() -> None:
    base = MemoryStore()
    await stack().encrypt(OLD).over(base).put("k", 1)
    keys: list[dict[str, int]] = []
    store = stack().encrypt(NEW).over(base)
    await rewrite(store, progress=lambda progress: keys.append(progress.report.keys))
    assert keys == [{"new": 1}]
