"""`kvwrap copy`: between two stores, through their layers."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Run
from tests.cli.programs import has_begun, interrupt


def fill(url: str, count: int, run: Run) -> None:
    lines = b"".join(b'{"key":"k%04d","value":{"n":%d}}\n' % (n, n) for n in range(count))
    assert run("import", url, stdin=lines).code == 0


def test_entries_are_copied_and_compared(stacks: str, run: Run) -> None:
    source, target = f"{stacks}#sessions", f"{stacks}#plain"
    fill(source, 30, run)
    run("put", source, "u", "1", "-c", "users", "--ttl", "1h")
    result = run("copy", source, target, "--prefix", "k000", "-c", "")
    assert (result.code, result.err) == (0, "")
    assert "10 seen, 10 copied" in result.out
    report = json.loads(run("copy", source, target, "--json").out)
    assert (report["copied"], report["same"]) == (21, 10)
    assert 3_500 < float(run("ttl", target, "u", "-c", "users").out) <= 3_600


def test_values_are_replaced_only_if_asked(stacks: str, run: Run) -> None:
    source, target = f"{stacks}#sessions", f"{stacks}#plain"
    run("put", source, "k", "1")
    run("put", target, "k", "2")
    assert "1 kept" in run("copy", source, target).out
    assert run("copy", source, target, "--existing", "replace").code == 2
    assert run("get", target, "k").out == "2\n"
    assert run("copy", source, target, "--existing", "replace", "--yes").code == 0
    assert run("get", target, "k").out == "1\n"


def test_failures_have_a_code(stacks: str, run: Run, tmp_path: Path) -> None:
    fill(f"{stacks}#plain", 3, run)
    limited = tmp_path / "limited.toml"
    limited.write_text(
        f'store = "sqlite:///{tmp_path}/small.db"\n[[layers]]\ntype = "limit_size"\nmax_size = 2\n'
    )
    result = run("copy", f"{stacks}#plain", str(limited))
    assert result.code == 1
    assert "ValueTooLarge" in result.out
    assert run("copy", f"{stacks}#plain", f"{stacks}#plain").code == 2


def test_ctrl_c_stops_a_copy_that_continues_later(tmp_path: Path, run: Run) -> None:
    source, target = f"sqlite:///{tmp_path}/source.db", f"sqlite:///{tmp_path}/target.db"
    fill(source, 60, run)
    slow = tmp_path / "slow.toml"
    slow.write_text(
        f'store = "{source}"\nsilence = ["chaos-over-real-data"]\n'
        '[[layers]]\ntype = "chaos"\ndelay = 0.2\n'
    )
    state = tmp_path / "state"
    options = [target, "--batch", "1", "--state", str(state)]
    ended = interrupt("copy", str(slow), *options, when=lambda: has_begun(state))
    assert (ended.code, ended.out) == (130, "")
    assert "run the same command again" in ended.err
    assert "Traceback" not in ended.err
    copied = int(run("count", target).out)
    assert 0 < copied < 60
    report = json.loads(run("copy", source, *options, "--json").out)
    assert report["seen"] == 60
    assert report["copied"] + report["same"] == 60
    assert report["same"] <= 1
    assert not state.exists()
    assert run("export", target, "--quiet").out == run("export", source, "--quiet").out


def test_a_mistake_names_the_file_that_has_it(config: str, tmp_path: Path, run: Run) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('store = "memory://"\nlayers = ["compresss"]\n')
    result = run("copy", config, str(wrong))
    assert result.code == 2
    assert f"{wrong}: layers[0]" in result.err


def test_the_summary_has_no_zeros(tmp_path: Path, run: Run) -> None:
    source = f"sqlite:///{tmp_path}/a.db"
    assert run("put", source, "k", "1").code == 0
    copied = run("copy", source, f"sqlite:///{tmp_path}/b.db").out
    assert copied.splitlines()[0] == "entries       1 seen, 1 copied"
