"""Relative paths in a file, which go by the folder of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kvwrap import (
    FileTreeStore,
    LMDBStore,
    RedisStore,
    SQLiteStore,
    Store,
    WriteBehind,
    from_config,
    stack_from_config,
    to_config,
)
from kvwrap.testing.servers.certificates import make_certificates


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the file, which is not the current one."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    return there


def _built(folder: Path, text: str, name: str | None = None) -> Store:
    path = folder / "kvwrap.toml"
    path.write_text(text)
    return from_config(path, name=name)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('store = "sqlite:///data/app.db?table=t"', SQLiteStore),
        ('store = "sqlite:///../there/data/app%2Edb"', SQLiteStore),
        ('store = { url = "sqlite:///data/app.db" }', SQLiteStore),
        ('store = { type = "sqlite", path = "data/app.db" }', SQLiteStore),
        ('store = { type = "lmdb", folder = "data/app.db" }', LMDBStore),
        ('store = { type = "file-tree", folder = "data/app.db" }', FileTreeStore),
        ('[a]\nstore = "sqlite:///data/app.db"\n[b]\nstore = "memory://"', SQLiteStore),
        ('store = { store = "sqlite:///data/app.db", layers = ["compress"] }', SQLiteStore),
    ],
)
def test_a_backend(text: str, kind: type[Store], elsewhere: Path) -> None:
    store = _built(elsewhere, text, "a" if "[a]" in text else None)
    assert isinstance(store.base, kind)
    shown = store.base.location.replace("/there/../there", "/there")
    assert str(elsewhere / "data/app.db") in shown


def test_second_stores_journals_and_references(elsewhere: Path) -> None:
    (elsewhere / "url").write_text("memory://")
    store = _built(
        elsewhere,
        """
        store = { file = "url" }

        [[layers]]
        type = "write_behind"
        journal = "writes.journal"

        [[layers]]
        type = "route"
        routes = { "logs-*" = "sqlite:///logs.db", path = { type = "sqlite", path = "p.db" } }

        [[layers]]
        type = "read_through"
        ttl = 30
        near = { store = "sqlite:///near.db", layers = ["compress"] }
        """,
    )
    table: dict[str, Any] = to_config(store)
    assert table["store"] == {"file": str(elsewhere / "url")}
    assert store.find(WriteBehind).arguments["journal"] == str(elsewhere / "writes.journal")
    behind, route, near = table["layers"]
    assert behind["journal"] == str(elsewhere / "writes.journal")
    assert route["routes"] == {
        "logs-*": f"sqlite:///{elsewhere}/logs.db",
        "path": {"type": "sqlite", "path": str(elsewhere / "p.db")},
    }
    assert near["near"]["store"] == f"sqlite:///{elsewhere}/near.db"
    assert from_config(table).explain() == store.explain()


def test_layers_alone(elsewhere: Path) -> None:
    path = elsewhere / "layers.toml"
    path.write_text('layers = [{ type = "write_behind", journal = "writes.journal" }]')
    (layer,) = stack_from_config(path).layers
    assert layer.arguments["journal"] == str(elsewhere / "writes.journal")


def test_certificates(elsewhere: Path) -> None:
    made = make_certificates(elsewhere)
    ca = Path(made.ca).name
    for text in (
        f'store = "rediss://localhost?ca={ca}"',
        f'store = {{ type = "redis", url = "rediss://localhost", ca = "{ca}" }}',
    ):
        assert isinstance(_built(elsewhere, text), RedisStore)


def test_what_the_environment_says_goes_by_the_current_folder(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_PLACE", "sqlite:///app.db")
    store = _built(elsewhere, 'store = { env = "TEST_PLACE" }')
    assert store.location.endswith(f"{Path.cwd() / 'app.db'}'")
    monkeypatch.setenv("TEST_PLACE", "app.db")
    store = _built(elsewhere, 'store = { type = "sqlite", path = { env = "TEST_PLACE" } }')
    assert store.location.endswith(f"{Path.cwd() / 'app.db'}'")


def test_a_mapping_goes_by_the_current_folder(elsewhere: Path) -> None:
    store = from_config({"store": "sqlite:///app.db"})
    assert store.location.endswith(f"{Path.cwd() / 'app.db'}'")


@pytest.mark.parametrize("text", ['store = "sqlite://"', 'store = "sqlite:///:memory:"'])
def test_memory_has_no_folder(text: str, elsewhere: Path) -> None:
    assert _built(elsewhere, text).location == "SQLiteStore"
