"""Slips between relative and absolute paths: the error says which path was probably meant."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from kvwrap import (
    ConfigurationError,
    FileTreeStore,
    KvwrapError,
    LMDBStore,
    SQLiteStore,
    Store,
    StoreUnavailable,
    store_from_url,
)
from kvwrap.stores.shared.paths import missing_parent, suggest_path

STORES: list[Callable[[Path], Store]] = [SQLiteStore, LMDBStore, FileTreeStore]


@pytest.mark.parametrize("make", STORES)
async def test_a_missing_parent_is_named(make: Callable[[Path], Store], tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        await make(tmp_path / "missing" / "x").check()
    assert f"there is no folder {str(tmp_path / 'missing')!r}" in str(caught.value)
    assert "Did you mean" not in str(caught.value)


async def test_three_slashes_of_sqlite_that_should_be_four(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(StoreUnavailable) as caught:
        await store_from_url(f"sqlite:///{str(tmp_path)[1:]}/data/x.db").check()
    assert f"Did you mean {str(tmp_path / 'data' / 'x.db')!r}?" in str(caught.value)
    assert "sqlite:////a an absolute one" in str(caught.value)


@pytest.mark.parametrize("scheme", ["lmdb", "file-tree"])
async def test_a_relative_path_behind_three_slashes(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreUnavailable) as caught:
        await store_from_url(f"{scheme}:///data/x").check()
    assert f"Did you mean {str(tmp_path / 'data' / 'x')!r}?" in str(caught.value)
    assert f"{scheme}:///a is an absolute path" in str(caught.value)


@pytest.mark.parametrize("scheme", ["lmdb", "file-tree"])
async def test_a_folder_of_the_root_that_this_user_may_not_create(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *args: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "refused", str(path))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(KvwrapError) as caught:
        await store_from_url(f"{scheme}:///entries").check()
    assert f"Did you mean {str(tmp_path / 'entries')!r}?" in str(caught.value)


def test_there_is_no_hint_without_a_folder_to_lead_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert missing_parent("the file", str(tmp_path / "x"), "sqlite") is None
    assert suggest_path(str(tmp_path / "missing" / "x"), "sqlite") == ""
    assert suggest_path(str(tmp_path / "x"), "sqlite") == ""
    assert suggest_path("/missing/x", "lmdb") == ""
    monkeypatch.chdir("/")
    assert suggest_path("/x", "lmdb") == ""


def test_two_slashes_and_four() -> None:
    for scheme in ("lmdb", "file-tree"):
        with pytest.raises(ConfigurationError, match=f"did you mean {scheme}:///var/x"):
            store_from_url(f"{scheme}://var/x")
        assert store_from_url(f"{scheme}:////var/x").arguments == {"folder": "/var/x"}
    with pytest.raises(ConfigurationError, match=r"sqlite:///a/b\.db .*sqlite:////a/b\.db"):
        store_from_url("sqlite://a/b.db")
    for scheme in ("lmdb", "file-tree", "sqlite"):
        with pytest.raises(ConfigurationError) as caught:
            store_from_url(f"{scheme}://user:hunter2@var/x")
        assert "hunter2" not in str(caught.value)
