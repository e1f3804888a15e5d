"""`kvwrap export` and `import`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from kvwrap import SQLiteStore, StoreUnavailable
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection
from tests.cli.conftest import Run
from tests.cli.programs import interrupt


def lines_of(count: int) -> bytes:
    return b"".join(b'{"key":"k%04d","value":{"n":%d}}\n' % (n, n) for n in range(count))


@pytest.fixture
def url(tmp_path: Path, run: Run) -> str:
    url = f"sqlite:///{tmp_path}/source.db"
    assert run("import", url, stdin=lines_of(250)).code == 0
    return url


def test_what_is_exported_is_imported(stacks: str, tmp_path: Path, run: Run) -> None:
    run("put", f"{stacks}#sessions", "a\x1b", '{"n": [1, "é"]}', "--ttl", "1h")
    run("put", f"{stacks}#sessions", "b", "null", "-c", "users")
    file = tmp_path / "out.jsonl"
    begin = time.time()
    result = run("export", f"{stacks}#sessions", str(file))
    assert result.code == 0
    assert "2 seen, 2 copied" in result.out
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in tmp_path.glob("out*")) == ["out.jsonl"]
    first, second = map(json.loads, file.read_text().splitlines())
    assert begin + 3_500 < first.pop("expires_at") < begin + 3_700
    assert first == {"key": "a\x1b", "value": {"n": [1, "é"]}}
    assert second == {"collection": "users", "key": "b", "value": None}
    assert run("import", f"{stacks}#plain", str(file)).code == 0
    assert run("export", f"{stacks}#plain").out.splitlines()[1] == json.dumps(
        second, separators=(",", ":")
    )
    assert 3_500 < float(run("ttl", f"{stacks}#plain", "a\x1b").out) < 3_600
    assert "2 same" in run("import", f"{stacks}#plain", str(file)).out


def test_a_dash_is_a_standard_stream(url: str, tmp_path: Path, run: Run) -> None:
    out = run("export", url, "-", "--quiet").out
    assert out == run("export", url).out
    target = f"sqlite:///{tmp_path}/target.db"
    assert "250 copied" in run("import", target, "-", stdin=out.encode()).out


def test_a_part_is_exported(url: str, run: Run) -> None:
    result = run("export", url, "--prefix", "k001", "-c", "", "--quiet")
    assert [json.loads(line)["key"] for line in result.out.splitlines()] == [
        f"k001{n}" for n in range(10)
    ]
    assert not result.err
    report = json.loads(run("export", url, "--json").err)
    assert (report["copied"], report["seen"]) == (250, 250)


def test_bytes_survive(tmp_path: Path, run: Run) -> None:
    configs = []
    for name in ("one", "two"):
        config = tmp_path / f"{name}.toml"
        config.write_text(
            f'store = "sqlite:///{tmp_path}/{name}.db"\n'
            '[[layers]]\ntype = "serialize"\nserializer = "msgpack"\n'
        )
        configs.append(str(config))
    one, two = configs
    run("put", one, "b", "--format", "bytes", stdin=b"\x00\xff")
    out = run("export", one).out
    assert json.loads(out) == {"key": "b", "bytes": "AP8="}
    assert run("import", two, stdin=out.encode()).code == 0
    assert run("export", two).out == out


def test_a_folder_is_no_file_to_write(url: str, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    result = run("export", url, str(folder), "--yes")
    assert result.code == 2
    assert "FILE must be the path of a file" in result.err
    assert not list(tmp_path.glob("folder.*"))


def test_an_existing_file_is_replaced_only_if_asked(url: str, tmp_path: Path, run: Run) -> None:
    file = tmp_path / "kept"
    file.write_text("precious")
    result = run("export", url, str(file))
    assert result.code == 2
    assert "--yes" in result.err
    assert file.read_text() == "precious"
    assert run("export", url, str(file), "--yes").code == 0
    assert len(file.read_bytes().splitlines()) == 250
    assert "cannot be written" in run("export", url, str(tmp_path / "no" / "file")).err
    assert "cannot be read" in run("import", url, str(tmp_path / "nothing")).err


def failing(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reads fail after this many of them."""
    left = calls
    read = SQLiteStore.read

    async def read_sometimes(
        self: SQLiteStore, collection: Collection, keys: Sequence[str]
    ) -> Sequence[Entry | None]:
        nonlocal left
        left -= 1
        if left < 0:
            raise StoreUnavailable("the backend does not respond")
        return await read(self, collection, keys)

    monkeypatch.setattr(SQLiteStore, "read", read_sometimes)


def test_an_export_continues_after_a_stop(url: str, tmp_path: Path, run: Run) -> None:
    file, whole = tmp_path / "out.jsonl", run("export", url).out
    with pytest.MonkeyPatch.context() as patched:
        failing(3, patched)
        assert run("export", url, str(file), "--batch", "50").code == 3
    part = tmp_path / "out.jsonl.part"
    assert not file.exists()
    assert part.read_text() == "".join(whole.splitlines(keepends=True)[:150])
    with part.open("a") as torn:  # as after a stop in the middle of a batch
        torn.write('{"key":"k01')
    with pytest.MonkeyPatch.context() as patched:
        failing(2, patched)
        assert run("export", url, str(file), "--batch", "50").code == 0
    assert file.read_text() == whole
    assert sorted(each.name for each in tmp_path.glob("out*")) == ["out.jsonl"]


def test_a_part_that_is_shorter_than_its_state_is_refused(
    url: str, tmp_path: Path, run: Run
) -> None:
    file = tmp_path / "out.jsonl"
    with pytest.MonkeyPatch.context() as patched:
        failing(1, patched)
        run("export", url, str(file))
    (tmp_path / "out.jsonl.part").write_text("")
    result = run("export", url, str(file))
    assert result.code == 2
    assert "delete both" in result.err


def test_a_damaged_state_is_told_without_names_of_arguments(
    url: str, tmp_path: Path, run: Run
) -> None:
    file, state = tmp_path / "out.jsonl", tmp_path / "out.jsonl.state"
    lines = tmp_path / "in.jsonl"
    lines.write_bytes(lines_of(1))
    state.write_text("{}")
    exported = run("export", url, str(file))
    imported = run("import", url, str(lines), "--state", str(state))
    for result, work in ((exported, "an export"), (imported, "an import")):
        assert result.code == 2
        assert f"is not the state of {work}, or it is damaged" in result.err
        assert "delete the file" in result.err
        assert "resume" not in result.err


def test_an_import_continues_after_a_stop(tmp_path: Path, run: Run) -> None:
    file, state = tmp_path / "in.jsonl", tmp_path / "state"
    file.write_bytes(lines_of(250))
    url = f"sqlite:///{tmp_path}/target.db"
    arguments = ("import", url, str(file), "--batch", "50", "--state", str(state))
    with pytest.MonkeyPatch.context() as patched:
        failing(3, patched)  # each batch is read back
        assert run(*arguments).code == 3
    assert json.loads(state.read_text())["report"]["lines"] == 150
    result = run(*arguments, "--json")
    report = json.loads(result.out)
    assert (report["copied"], report["same"], report["lines"]) == (200, 50, 250)
    assert not state.exists()
    other = tmp_path / "other.jsonl"
    other.write_bytes(lines_of(1))
    with pytest.MonkeyPatch.context() as patched:
        failing(0, patched)
        run(*arguments)
    assert "is that of" in run("import", url, str(other), "--state", str(state)).err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"no json", "the line must be a JSON object"),
        (b"[1]", "got a list"),
        (b'{"key": "k"}', "exactly one of value, bytes, msgpack"),
        (b'{"key": "k", "value": 1, "bytes": ""}', "got value, bytes"),
        (b'{"kye": "k", "value": 1}', "did you mean 'key'?"),
        (b'{"key": "", "value": 1}', "at least one character"),
        (b'{"value": 1}', "a key must be a str"),
        (b'{"key": "kvwrap.x", "value": 1}', "reserved"),
        (b'{"key": "k", "bytes": "?"}', "base64"),
        (b'{"key": "k", "msgpack": "/w=="}', "3 copied"),
        (b'{"key": "k", "value": 1, "expires_at": "soon"}', "Unix seconds"),
        (b'{"key": "k", "value": 1, "collection": 5}', "a collection must be a str"),
        (b"\xff\xfe", "the line must be a JSON object"),
    ],
)
def test_wrong_lines_are_reported_and_the_others_put(
    line: bytes, says: str, tmp_path: Path, run: Run
) -> None:
    url = f"sqlite:///{tmp_path}/target.db"
    result = run(
        "import", url, stdin=b'{"key":"a","value":1}\n\n' + line + b'\n{"key":"b","value":2}'
    )
    if b"msgpack" not in line:
        assert result.code == 1
        assert "'line 3'" in result.out
    assert says in result.out
    assert run("get", url, "b").out == "2\n"


def test_what_has_expired_is_left_out_and_the_last_line_of_a_key_counts(
    tmp_path: Path, run: Run
) -> None:
    url = f"sqlite:///{tmp_path}/target.db"
    lines = b'{"key":"old","value":1,"expires_at":5}\n{"key":"k","value":1}\n{"key":"k","value":2}'
    assert "1 gone meanwhile" in run("import", url, stdin=lines).out
    assert run("get", url, "old").code == 1
    assert run("get", url, "k").out == "2\n"


def test_values_are_replaced_only_if_asked(url: str, run: Run) -> None:
    line = b'{"key":"k0000","value":"new"}'
    assert "1 kept" in run("import", url, stdin=line).out
    assert run("import", url, "--existing", "replace", stdin=line).code == 2
    assert run("import", url, "--existing", "replace", "-y", stdin=line).code == 0
    assert run("get", url, "k0000").out == '"new"\n'


def test_ctrl_c_ends_an_import_that_waits_for_its_input(tmp_path: Path) -> None:
    state = tmp_path / "state"
    arguments = ["import", f"sqlite:///{tmp_path}/x.db", "--state", str(state), "--batch", "1"]
    reading, writing = os.pipe()  # which stays open, and silent
    os.write(writing, lines_of(1))
    ended = interrupt(*arguments, when=state.exists, stdin=reading)
    os.close(reading)
    os.close(writing)
    assert ended.code == 130
    assert "run the same command again" in ended.err


def test_lines_on_a_terminal_are_escaped(url: str, run: Run, terminal: None) -> None:
    run("put", url, "\u202ea\x9b", "1")
    out = run("export", url, "--quiet", "--prefix", "\u202e").out
    assert json.loads(out) == {"key": "\u202ea\x9b", "value": 1}
    assert "\u202e" not in out
    assert "\x9b" not in out


def test_what_another_has_put_in_place_of_the_part_is_refused(
    url: str, tmp_path: Path, run: Run
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    out, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"
    for plant in (part.symlink_to, part.hardlink_to):
        plant(victim)
        result = run("export", url, str(out))
        assert result.code == 2
        assert victim.read_text() == "theirs"
        assert not out.exists()
        part.unlink()
    os.mkfifo(part)
    assert run("export", url, str(out)).code == 2
    part.unlink()


def test_a_part_that_others_may_read_is_made_private(url: str, tmp_path: Path, run: Run) -> None:
    out, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"
    part.touch()
    part.chmod(0o666)
    assert run("export", url, str(out)).code == 0
    assert out.stat().st_mode & 0o777 == 0o600
