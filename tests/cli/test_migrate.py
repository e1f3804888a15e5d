"""`kvwrap migrate`: each system, with its own package where that installs."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import sys
import types
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import diskcache
import pytest
from django.test.utils import override_settings
from key_value.aio.stores.redis import RedisStore as TheirRedisStore
from keyvalue_sqlite import KeyValueSqlite

from kvwrap.cli.systems import SYSTEMS
from kvwrap.core.tuple_keys import encode_key
from tests.cli.conftest import Result, Run
from tests.cli.programs import has_begun, interrupt
from tests.integrations.django import project
from tests.parity import keyval_double
from tests.stores.adapted.objects import KeyValueStore as SteamshipDouble
from tests.stores.adapted.objects import make_great_expectations

Migrate = Callable[..., Result]


@pytest.fixture
def target(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/target.db"


@pytest.fixture
def migrate(run: Run, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Migrate:
    """A function that migrates to `target`, from the folder of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run_migrate(system: str, source: str, *options: str) -> Result:
        return run("migrate", system, source, target, *options)

    return run_migrate


def values_of(target: str, run: Run) -> dict[tuple[str | None, str], Any]:
    lines = map(json.loads, run("export", target, "--quiet").out.splitlines())
    return {(line.get("collection"), line["key"]): line["value"] for line in lines}


def test_every_page_has_its_system() -> None:
    pages = Path(__file__).parents[2] / "docs" / "moving"
    names = {page.stem.replace("_", "-") for page in pages.glob("*.md")} - {"index"}
    assert names == set(SYSTEMS)
    for name in names:
        text = (pages / f"{name.replace('-', '_')}.md").read_text(encoding="utf-8")
        assert f"kvwrap migrate {name} " in text


def test_a_folder_of_diskcache_is_read_without_its_pickles(
    migrate: Migrate, target: str, run: Run
) -> None:
    with diskcache.Cache("cache") as theirs:
        theirs.set("a", "text", expire=600)
        theirs["n"] = 5
        theirs["user"] = {"name": "Ada"}
    result = migrate("diskcache", "cache")
    assert result.code == 0
    assert "2 seen, 2 copied" in result.out
    assert "--pickle" in result.err
    assert values_of(target, run) == {(None, "a"): "text", (None, "n"): 5}
    assert 500 < float(run("ttl", target, "a").out) <= 600
    result = migrate("diskcache", "cache", "--pickle", "--json")
    assert json.loads(result.out)["copied"] == 1
    assert json.loads(result.out)["same"] == 2
    assert not result.err
    assert values_of(target, run)[None, "user"] == {"name": "Ada"}


def test_a_folder_of_diskcache_with_json(migrate: Migrate, target: str, run: Run) -> None:
    with diskcache.Cache("cache", disk=diskcache.JSONDisk) as theirs:
        theirs["user"] = {"name": "Ada"}
    assert migrate("diskcache", "cache", "--json-disk").code == 0
    assert values_of(target, run) == {(None, "user"): {"name": "Ada"}}


def test_a_table_of_keyvalue_sqlite(
    migrate: Migrate, target: str, run: Run, tmp_path: Path
) -> None:
    table = KeyValueSqlite(str(tmp_path / "app.db"), "settings")
    table.update({"theme": {"dark": True}, "visits": 5})
    assert migrate("keyvalue-sqlite", "app.db", "--into", "settings").code == 0
    expected = {("settings", "theme"): {"dark": True}, ("settings", "visits"): 5}
    assert values_of(target, run) == expected
    KeyValueSqlite(str(tmp_path / "app.db"), "other-table")["a"] = 1
    result = migrate("keyvalue-sqlite", "app.db")
    assert result.code == 2
    assert "'other_table', 'settings'" in result.err
    assert migrate("keyvalue-sqlite", "app.db", "--table", "other-table").code == 0
    assert values_of(target, run) == {**expected, (None, "a"): 1}


def test_a_row_that_cannot_be_read_is_named_and_the_others_are_copied(
    migrate: Migrate, target: str, run: Run, tmp_path: Path
) -> None:
    table = KeyValueSqlite(str(tmp_path / "app.db"), "settings")
    table.update({f"k{number}": number for number in range(100)})
    with closing(sqlite3.connect(tmp_path / "app.db")) as opened:
        opened.execute("UPDATE settings SET value = '{broken' WHERE key = 'k7'")
        opened.execute("UPDATE settings SET value = CAST(x'ff' AS TEXT) WHERE key = 'k8'")
        opened.commit()
    result = migrate("keyvalue-sqlite", "app.db")
    assert result.code == 1
    assert "100 seen, 98 copied" in result.out
    for key in ("k7", "k8"):
        assert re.search(rf"\b{key}\b.*CorruptEntry.*cannot decode", result.out)
    assert "broken" not in result.out + result.err
    copied = values_of(target, run)
    assert len(copied) == 98
    assert copied[None, "k9"] == 9


def test_the_table_of_django_keyval_with_its_pickles_by_name(
    migrate: Migrate, target: str, run: Run
) -> None:
    project.set_up()
    keyval_double.make_table("default")
    theirs = keyval_double.KeyVal("migrated")
    theirs.set("open", True)
    try:
        result = migrate("django-keyval", "settings")
        assert result.code == 2
        assert "--pickle" in result.err
        with override_settings():
            result = migrate("django-keyval", "settings", "--pickle")
        assert result.code == 0
        assert values_of(target, run)["migrated", "open"] is True
    finally:
        theirs.delete("open")


def test_a_folder_of_great_expectations(
    migrate: Migrate, target: str, run: Run, tmp_path: Path
) -> None:
    theirs = make_great_expectations(tmp_path)
    theirs.set(("taxi", "v1"), '{"name": "taxi"}')
    files = sorted((tmp_path / "expectations").rglob("*"))
    assert migrate("great-expectations", "expectations", "--into", "suites").code == 0
    key = encode_key(("taxi", "v1"))
    assert values_of(target, run) == {("suites", key): '{"name": "taxi"}'}
    assert sorted((tmp_path / "expectations").rglob("*")) == files


def test_a_store_of_steamship(
    migrate: Migrate, target: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def make(client: object, store_identifier: str) -> SteamshipDouble:
        asked.append(store_identifier)
        made = SteamshipDouble()
        made.set("ada", {"theme": "dark"})
        return made

    package, module = types.ModuleType("steamship"), types.ModuleType("steamship.utils.kv_store")
    package.Steamship = object  # type: ignore[attr-defined]
    module.KeyValueStore = make  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "steamship", package)
    monkeypatch.setitem(sys.modules, "steamship.utils", types.ModuleType("steamship.utils"))
    monkeypatch.setitem(sys.modules, "steamship.utils.kv_store", module)
    assert migrate("steamship", "settings").code == 0
    assert asked == ["settings"]
    assert values_of(target, run) == {(None, "ada"): {"theme": "dark"}}


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")
def test_a_redis_of_py_key_value(migrate: Migrate, target: str, run: Run, redis_url: str) -> None:
    async def prepare() -> None:
        async with TheirRedisStore(url=redis_url) as theirs:
            await theirs.put("ada", {"n": 1}, collection="users", ttl=600)

    asyncio.run(prepare())
    try:
        result = migrate("py-key-value", redis_url, "-c", "users")
        assert result.code == 0, result
        assert values_of(target, run)["users", "ada"] == {"n": 1}
        assert 500 < float(run("ttl", target, "ada", "-c", "users").out) <= 600
    finally:
        run("delete", f"{redis_url}?raw=true", "users::ada", "--yes")


def test_an_object_or_a_function_of_a_module_is_a_source_of_every_system(
    migrate: Migrate, target: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "old_stores.py").write_text(
        "import asyncio\n"
        "from key_value.aio.stores.memory import MemoryStore\n"
        "import kvwrap\n"
        "theirs = MemoryStore()\n"
        "asyncio.run(theirs.put('ada', {'n': 1}, collection='users'))\n"
        "values = {'a': b'1'}\n"
        "def make():\n"
        "    return kvwrap.MemoryStore()\n"
    )
    assert migrate("py-key-value", "old_stores:theirs").code == 0
    assert values_of(target, run) == {("users", "ada"): {"n": 1}}
    assert "0 seen" in migrate("py-key-value", "old_stores:make").out
    assert "cannot import" in migrate("py-key-value", "old_stores:other").err
    sys.modules.pop("old_stores")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["diskcache", "missing"], "'missing' is not one"),
        (["diskcache", ".", "--pickle"], "cache.db"),
        (["diskcache", ".", "--table", "x"], "--table must be left out"),
        (["diskcache", ".", "--pickle", "--json-disk"], "--json-disk"),
        (["keyvalue-sqlite", "missing.db"], "'missing.db' is not one"),
        (["keyvalue-sqlite", "text.db"], "cannot be read"),
        (["django-keyval", "settings", "--pickle", "--into", "x"], "--into must be left out"),
        (["great-expectations", "missing"], "'missing' is not one"),
        (["steamship", "settings"], "pip install steamship"),
        (["py-key-value", "elsewhere"], "package.module:name"),
        (["py-key-value", "memcached://u:hunter2@localhost"], "package.module:name"),
        (["django", "settings"], "SYSTEM"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: list[str], says: str, migrate: Migrate, tmp_path: Path
) -> None:
    (tmp_path / "text.db").write_text("no database" * 100)
    result = migrate(*arguments)
    assert result.code == 2
    assert says in result.err
    assert "hunter2" not in result.err
    assert not (tmp_path / "missing.db").exists()
    assert not (tmp_path / "cache.db").exists()


def test_ctrl_c_stops_a_migration_that_continues_later(
    tmp_path: Path, target: str, run: Run
) -> None:
    with diskcache.Cache(tmp_path / "cache") as theirs:
        for number in range(60):
            theirs[f"k{number:02}"] = number
    slow = tmp_path / "slow.toml"
    slow.write_text(
        f'store = "{target}"\nsilence = ["chaos-over-real-data"]\n'
        '[[layers]]\ntype = "chaos"\ndelay = 0.2\n'
    )
    words, state = ["migrate", "diskcache", str(tmp_path / "cache")], tmp_path / "state"
    options = ["--batch", "1", "--state", str(state)]
    ended = interrupt(*words, str(slow), *options, when=lambda: has_begun(state))
    assert (ended.code, ended.out) == (130, "")
    assert "run the same command again" in ended.err
    with diskcache.Cache(tmp_path / "other"):
        pass
    result = run("migrate", "diskcache", str(tmp_path / "other"), target, *options)
    assert result.code == 2, "a state of another source is refused"
    report = json.loads(run(*words, target, *options, "--json").out)
    assert (report["seen"], report["copied"] + report["same"]) == (60, 60)
    assert len(values_of(target, run)) == 60
    assert not state.exists()


@pytest.mark.parametrize("name", ["my-table", 'evil (key, value); DROP TABLE "other"; /*-', "a b"])
def test_a_name_that_keyvalue_sqlite_cannot_have_made_runs_no_sql(
    migrate: Migrate, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as made:
        quoted = name.replace('"', '""')
        made.execute(f'CREATE TABLE "{quoted}" (key, value)')
        made.execute("CREATE TABLE other (x)")
        made.commit()
    before = path.read_bytes()
    result = migrate("keyvalue-sqlite", "app.db")
    assert result.code == 2
    assert "letters, digits and _" in result.err
    assert path.read_bytes() == before
