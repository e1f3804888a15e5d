"""Values that another program wrote: their versions, and that nothing at rest has one."""

from __future__ import annotations

import hashlib
import subprocess
import sys

from kvwrap.core.entry import Entry, ForeignVersion, foreign, foreign_salt

BODY = b'{"pin": 4821}'


def test_equal_bytes_under_one_name_have_equal_versions() -> None:
    entry = foreign(BODY, "c", "k", 1.0, None)
    assert foreign(BODY, "c", "k", 2.0, 9.0).version == entry.version
    others = [
        foreign(BODY + b" ", "c", "k", 1.0, None),
        foreign(BODY, "c", "l", 1.0, None),
        foreign(BODY, None, "k", 1.0, None),
        foreign(BODY, None, "ck", 1.0, None),
    ]
    assert len({entry.version, *(other.version for other in others)}) == 5


def test_the_version_is_the_hash_that_a_script_computes() -> None:
    digest = hashlib.sha1(foreign_salt("c", "k") + BODY, usedforsecurity=False).digest()
    assert foreign(BODY, "c", "k", 1.0, None).version == int.from_bytes(digest[:8], "big")


def test_the_version_means_nothing_to_another_process() -> None:
    code = (
        "from kvwrap.core.entry import foreign;"
        f"print(int(foreign({BODY!r}, None, 'k', 1.0, None).version))"
    )
    run = [sys.executable, "-c", code]
    versions = {subprocess.run(run, capture_output=True, check=True).stdout for _ in range(2)}
    assert len(versions) == 2


def test_an_entry_is_stored_with_a_version_of_its_own() -> None:
    entry = foreign(BODY, None, "k", 1.0, None, b"\x01")
    stored = [Entry.from_bytes(entry.to_bytes(None, "k"), None, "k", "s") for _ in range(2)]
    assert len({entry.version, *(each.version for each in stored)}) == 3
    assert all(each.body == BODY for each in stored)


def test_a_lasting_version_replaces_that_of_a_foreign_value_alone() -> None:
    entry = foreign(BODY, None, "k", 1.0, 9.0, b"\x01")
    lasting = entry.with_lasting_version()
    assert type(lasting.version) is int
    assert lasting.version != entry.version
    assert (lasting.body, lasting.codec, lasting.expires_at) == (BODY, b"\x01", 9.0)
    assert lasting.with_lasting_version() is lasting


def test_the_version_survives_what_layers_do_with_an_entry() -> None:
    entry = foreign(BODY, None, "k", 1.0, None).with_body(b"x", b"\x04").with_expiry(5.0)
    assert type(entry.version) is ForeignVersion
