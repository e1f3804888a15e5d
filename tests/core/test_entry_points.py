"""Stores and layers of another package are found by name, for example `tests/plugin_package`."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import kvwrap
from kvwrap import ConfigurationError, from_config, stack, store_from_url, to_config

PACKAGE = Path(__file__).parents[1] / "plugin_package"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package as an installer writes it: its module and its metadata."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    shutil.copy(PACKAGE / "kvwrap_shout.py", tmp_path)
    metadata = tmp_path / f"kvwrap_shout-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    (metadata / "entry_points.txt").write_text(
        "\n".join(
            f"[{group}]\n" + "\n".join(f"{name} = {path}" for name, path in points.items())
            for group, points in project["entry-points"].items()
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("kvwrap_shout", None)


async def test_a_configuration_may_use_both(installed):
    store = from_config(
        {
            "store": {"type": "drawer", "label": "socks", "max_entries": 5},
            "layers": [{"type": "shout", "marks": 2}],
        }
    )
    await store.put("a", "hey")
    assert await store.get("a") == "HEY!!"
    assert store.base.label == "socks"


async def test_a_url_may_have_its_scheme(installed):
    store = store_from_url("drawer://left")
    assert store.label == "left"


def test_a_stack_built_in_code_is_written_with_its_names(installed):
    import kvwrap_shout

    store = stack().layer(kvwrap_shout.Shout(marks=3)).over(kvwrap_shout.DrawerStore("low"))
    table = to_config(store)
    assert table == {
        "store": {"type": "drawer", "label": "low"},
        "layers": [{"type": "shout", "marks": 3}],
    }
    assert to_config(from_config(table)) == table


def test_its_names_are_suggested_too(installed):
    with pytest.raises(ConfigurationError, match="did you mean 'shout'"):
        from_config({"store": "memory://", "layers": [{"type": "shoot"}]})
    with pytest.raises(ConfigurationError, match="did you mean 'drawer'"):
        store_from_url("drawr://left")


def test_codes_of_its_findings_can_be_silenced(installed):
    assert "kvwrap_shout" not in sys.modules
    assert stack().silence("shouted-twice").silenced == {"shouted-twice"}
    with pytest.raises(ConfigurationError, match="did you mean 'shouted-twice'"):
        stack().silence("shouted-twise")


def test_the_error_for_a_plugin_that_cannot_be_loaded_names_its_package(installed):
    with pytest.raises(ConfigurationError, match=r"layers\[0\].*'broken'.*kvwrap_shout:NotThere"):
        from_config({"store": "memory://", "layers": ["broken"]})


def test_without_the_package_nothing_is_found():
    assert "kvwrap_shout" not in sys.modules
    with pytest.raises(ConfigurationError, match="'shout'"):
        from_config({"store": "memory://", "layers": ["shout"]})


def test_importing_kvwrap_does_not_load_plugins(installed):
    code = "import sys, kvwrap; assert 'kvwrap_shout' not in sys.modules"
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env={"PYTHONPATH": f"{installed}:{Path(kvwrap.__file__).parents[1]}"},
    )
