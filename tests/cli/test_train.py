"""`kvwrap train-dictionary`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Run


def test_a_dictionary_is_trained_and_used(tmp_path: Path, run: Run) -> None:
    config = tmp_path / "dictionaries.toml"
    config.write_text(
        f'store = "sqlite:///{tmp_path}/d.db"\n[[layers]]\ntype = "compress"\ndictionaries = true\n'
    )
    lines = [
        json.dumps(
            {
                "collection": "users",
                "key": f"k{n}",
                "value": {
                    "name": f"user {n}",
                    "state": "active",
                    "text": f"visits {n * 7919} " * 5,
                },
            }
        )
        for n in range(400)
    ]
    run("import", str(config), stdin="\n".join(lines).encode())
    assert run("train-dictionary", str(config)).code == 2  # the default collection is empty
    result = run("train-dictionary", str(config), "-c", "users", "--size", "1024")
    assert (result.code, result.err) == (0, "")
    assert "trained on 400 values" in result.out
    described = json.loads(
        run("train-dictionary", str(config), "-c", "users", "--size", "1024", "--json").out
    )
    assert described["collection"] == "users"
    assert 0 < described["ratio"] < 1
    assert run("rewrite", str(config)).code == 0
    assert described["id"] in run("inspect", str(config)).out


def test_a_stack_without_dictionaries_is_refused(stacks: str, run: Run) -> None:
    assert "dictionaries=True" in run("train-dictionary", f"{stacks}#sessions").err
    assert "has no Compression" in run("train-dictionary", f"{stacks}#plain").err
