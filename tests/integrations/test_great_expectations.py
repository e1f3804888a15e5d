"""Great Expectations over a stack of kvwrap, with its own package and a context of its own."""

from __future__ import annotations

import asyncio
import logging
import uuid
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import kvwrap
from kvwrap import ConfigurationError, Keyring, stack
from tests.stores.adapted.objects import make_great_expectations

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it uses modules that Python has deprecated
    import great_expectations
    from great_expectations.data_context.types.base import DataContextConfig
    from great_expectations.exceptions import InvalidKeyError, StoreBackendError

    from kvwrap.integrations.great_expectations import KvwrapStoreBackend

SUITE = ("expectations", "taxi", "v1")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GX_ANALYTICS_ENABLED", "false")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The configuration of an encrypted and compressed stack over SQLite."""
    monkeypatch.setenv("GE_KEYS", Keyring.generate().reveal_text())
    return {
        "store": f"sqlite:///{tmp_path / 'store.db'}",
        "layers": ["compress", {"type": "encrypt", "keyring": {"env": "GE_KEYS"}}],
    }


@pytest.fixture
def backend(settings: dict[str, Any]) -> Iterator[KvwrapStoreBackend]:
    backend = KvwrapStoreBackend(settings, "suites", store_name="expectations_store")
    yield backend
    backend.close()


def test_every_method_of_a_store_backend(backend: KvwrapStoreBackend) -> None:
    backend.set(SUITE, "text")
    assert backend.get(SUITE) == "text"
    assert backend.has_key(SUITE)
    assert not backend.has_key(("missing",))
    with pytest.raises(InvalidKeyError):
        backend.get(("missing",))
    with pytest.raises(InvalidKeyError):
        backend.move(("missing",), ("other",))
    backend.add(("other",), "second")
    for call in (
        lambda: backend.add(("other",), "third"),
        lambda: backend.update(("missing",), "third"),
    ):
        with pytest.raises(StoreBackendError):
            call()
    backend.update(("other",), "third")
    backend.add_or_update(("new",), "fourth")
    assert sorted(backend.get_all()) == ["fourth", "text", "third"]
    assert backend.list_keys() == [SUITE, ("new",), ("other",)]
    assert backend.list_keys(prefix=("expectations",)) == [SUITE]
    backend.move(SUITE, ("moved", "a/b"))
    backend.set((".ipynb_checkpoints",), "ignored")
    assert backend.list_keys() == [("moved", "a/b"), ("new",), ("other",)]
    assert backend.remove_key(("other",)) is True
    assert backend.remove_key(("other",)) is False
    assert backend.get_url_for_key(("moved", "a/b")).endswith("#suites/moved/a%2Fb")
    for key in ("text", ("a", 5)):
        with pytest.raises(TypeError):
            backend.set(key, "text")


def test_its_configuration_makes_the_same_backend(backend: KvwrapStoreBackend) -> None:
    config = dict(backend.config)
    assert config.pop("class_name") == "KvwrapStoreBackend"
    assert config.pop("module_name") == "kvwrap.integrations.great_expectations"
    backend.set(SUITE, "text")
    again = KvwrapStoreBackend(**config)
    assert again.get(SUITE) == "text"
    assert again.store_backend_id == backend.store_backend_id
    again.close()


def test_the_id_is_made_once_by_all(settings: dict[str, Any]) -> None:
    with kvwrap.sync(kvwrap.from_config(settings)) as store:
        backends = [KvwrapStoreBackend(store, "suites") for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            ids = set(pool.map(lambda backend: backend.store_backend_id, backends))
        assert len(ids) == 1
        assert backends[0].get_all() == []
        made = uuid.uuid4()
        manual = KvwrapStoreBackend(store, "b", manually_initialize_store_backend_id=made)
        assert manual.store_backend_id == made
        suppressed = KvwrapStoreBackend(store, "c", suppress_store_backend_id=True)
        assert suppressed.store_backend_id is None
        assert suppressed.list_keys() == []


def test_a_store_without_conditions_is_taken_too() -> None:
    with kvwrap.sync(stack().over(TheirMapping())) as store:
        backend = KvwrapStoreBackend(store)
        backend.add(("a",), "text")
        with pytest.raises(StoreBackendError):
            backend.add(("a",), "text")
        assert backend.store_backend_id == backend.store_backend_id


class TheirMapping(dict[str, Any]):
    """Not in memory, as far as is known: it has no conditional writes."""

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key, default)


def test_a_failing_store_is_a_warning_of_the_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "store.db").write_bytes(b"no database" * 100)
    backend = KvwrapStoreBackend(f"sqlite:///{tmp_path / 'store.db'}")
    with caplog.at_level(logging.WARNING):
        found = backend.store_backend_id
    assert str(found) == backend.STORE_BACKEND_INVALID_CONFIGURATION_ID
    assert "Invalid store configuration" in caplog.text
    backend.close()


def test_what_is_no_store_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="`store` must be the path of a TOML file"):
        KvwrapStoreBackend(5)  # type: ignore[arg-type]  # refused for that


# -- a context of its own --------------------------------------------------------------------------


def make_context(settings: dict[str, Any]) -> Any:
    """Return a context whose stores are all in the stack."""
    kinds = {
        "expectations_store": "ExpectationsStore",
        "validation_results_store": "ValidationResultsStore",
        "checkpoint_store": "CheckpointStore",
        "validation_definition_store": "ValidationDefinitionStore",
    }
    stores = {
        name: {
            "class_name": kind,
            "store_backend": {
                "module_name": "kvwrap.integrations.great_expectations",
                "class_name": "KvwrapStoreBackend",
                "store": settings,
                "collection": name,
            },
        }
        for name, kind in kinds.items()
    }
    config = DataContextConfig(
        stores=stores,
        data_docs_sites={},
        **{f"{name}_name": name for name in kinds if name != "validation_definition_store"},
    )
    return great_expectations.get_context(project_config=config, mode="ephemeral")


def close(context: Any) -> None:
    for store in context.stores.values():
        if isinstance(store.store_backend, KvwrapStoreBackend):
            store.store_backend.close()


@pytest.mark.filterwarnings("ignore")  # its own
def test_a_context_works_over_a_stack(settings: dict[str, Any]) -> None:
    import pandas as pd

    context = make_context(settings)
    suite = context.suites.add(great_expectations.ExpectationSuite(name="taxi"))
    suite.add_expectation(
        great_expectations.expectations.ExpectColumnValuesToNotBeNull(column="fare")
    )
    asset = context.data_sources.add_pandas("frames").add_dataframe_asset("rides")
    batch = asset.add_batch_definition_whole_dataframe("all")
    definition = context.validation_definitions.add(
        great_expectations.ValidationDefinition(name="rides", data=batch, suite=suite)
    )
    checkpoint = context.checkpoints.add(
        great_expectations.Checkpoint(name="daily", validation_definitions=[definition])
    )
    result = checkpoint.run(batch_parameters={"dataframe": pd.DataFrame({"fare": [1.0, 2.0]})})
    assert result.success
    close(context)

    again = make_context(settings)
    assert [each.name for each in again.suites.all()] == ["taxi"]
    found = again.suites.get("taxi")
    assert [type(each).__name__ for each in found.expectations] == ["ExpectColumnValuesToNotBeNull"]
    results = again.stores["validation_results_store"]
    (key,) = results.list_keys()
    assert results.get(key).success
    assert again.stores["validation_definition_store"].list_keys()
    assert again.stores["checkpoint_store"].list_keys()
    again.suites.delete("taxi")
    assert list(again.suites.all()) == []
    close(again)


def test_what_it_had_in_files_is_copied(tmp_path: Path, settings: dict[str, Any]) -> None:
    files = make_great_expectations(tmp_path)
    contents = {("taxi",): '{"name": "taxi"}', ("cab", "v1"): "a", ("bus", "v1", "x"): "b"}
    for key, value in contents.items():
        files.set(key, value)

    async def move() -> kvwrap.CopyReport:
        async with (
            kvwrap.adapt(files, raw=True) as source,
            stack().prefix_collection("suites").over(kvwrap.from_config(settings)) as target,
        ):
            return await kvwrap.copy(source, target)

    report = asyncio.run(move())
    assert (report.copied, report.failed, report.left) == (3, 0, 0)
    made = files.store_backend_id
    backend = KvwrapStoreBackend(settings, "suites", manually_initialize_store_backend_id=made)
    assert {key: backend.get(key) for key in backend.list_keys()} == contents
    assert backend.store_backend_id == made
    backend.close()


def test_its_own_values_through_tuples(tmp_path: Path) -> None:
    files = make_great_expectations(tmp_path)
    files.set(("taxi",), "a")
    with kvwrap.sync(kvwrap.adapt(files, raw=True)) as store:
        suites = kvwrap.tuples(store)
        suites.put(("cab", "v1"), "b")
        assert suites.list_keys() == [("cab", "v1"), ("taxi",)]
        assert suites.get(("taxi",)) == "a"
        assert suites.remove_key(("taxi",))
    assert files.get(("cab", "v1")) == "b"
    assert not files.has_key(("taxi",))
