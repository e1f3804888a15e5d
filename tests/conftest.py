"""Fixtures of the whole suite; those of `kvwrap.testing.plugin` are loaded by its entry point."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import HealthCheck, settings

from kvwrap.testing import ManualClock, RedisServer
from kvwrap.testing.servers import (
    LocalServer,
    MissingServerError,
    SharedServers,
    base,
    require_server,
)
from tests.catalog import EMBEDDED, LEAVES_SOCKETS, STORES
from tests.disks import small_disk
from tests.slow import is_slow

# Examples have no time limit, because a busy machine is not a fault of the code. The plain suite
# uses the same examples every time, so only a change of the code changes its result. `make soak`
# draws new ones.
SOAK = bool(os.environ.get("KVWRAP_SOAK"))
HOUR = 3_600
"""Seconds that a test may take in its long form, whatever limit it has else."""
settings.register_profile(
    "kvwrap",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=not SOAK,
    max_examples=1_000 if SOAK else 100,
)
settings.load_profile("kvwrap")

# DynamoDB's driver looks for credentials there. The servers of the tests take any.
os.environ.setdefault("AWS_ACCESS_KEY_ID", "tests")
os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "tests")

SERVERS_ARE_REQUIRED = bool(os.environ.get("KVWRAP_REQUIRE_SERVERS"))


def needs_server(item: pytest.Function) -> bool:
    """Tell whether a test may start a server.

    It may if its module imports the class of one, if one of its parameters names a store that
    needs one, or if it uses the fixture `servers` and no parameter names an embedded store.
    """
    for thing in vars(item.module).values():
        is_server = isinstance(thing, type) and issubclass(thing, LocalServer)
        if is_server and thing.__module__ not in (LocalServer.__module__, item.module.__name__):
            return True
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    stores = {value for value in parameters if isinstance(value, str) and value in STORES}
    if "redis_url" in item.fixturenames or not stores.issubset(EMBEDDED):
        return True
    return "servers" in item.fixturenames and not stores


def find_no_server(name: str) -> Path:
    """Fail a test that starts a server, for runs without such tests."""
    program = require_server(name)
    if not Path(name).is_absolute():
        pytest.fail(f"{name} was started by a test without the marker `server`")
    return program


def interrupt(number: int, frame: FrameType | None) -> None:
    """Do what Python's own handler of Ctrl-C does."""
    raise KeyboardInterrupt


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Return one worker more than there are processors, since the tests also wait for servers."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return (os.cpu_count() or 1) + 1


def pytest_configure(config: pytest.Config) -> None:
    """Let no server start where the tests with the marker are left out."""
    if "not server" in config.option.markexpr:
        base.require_server = find_no_server
    # asyncio replaces Python's own handler for each run, for which `signal` makes a text of the
    # task and of the stack of layers in it that nothing reads. It leaves another handler alone.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a server, before some are selected by their markers."""
    for item in items:
        if isinstance(item, pytest.Function) and needs_server(item):
            item.add_marker(pytest.mark.server)
        if is_slow(item):
            item.add_marker(pytest.mark.slow)
        if SOAK:
            item.add_marker(pytest.mark.timeout(HOUR), append=False)
        if leaves_sockets(item):
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))


def leaves_sockets(item: pytest.Item) -> bool:
    """Tell whether a test uses a driver that leaves sockets to the garbage collector."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return any(each in LEAVES_SOCKETS for each in parameters if isinstance(each, str)) or (
        item.path.parent.name in LEAVES_SOCKETS
    )


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Collect the sockets that a test left, before another test is blamed for them."""
    if leaves_sockets(item):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        # What is left stays: to look at it again took 90 ms in each of these tests.
        gc.freeze()


@contextlib.contextmanager
def skipping_missing_servers() -> Iterator[None]:
    """Skip the test if its server is not installed, unless all servers are required."""
    try:
        yield
    except MissingServerError as error:
        if SERVERS_ARE_REQUIRED:
            raise
        # pytest reports one line for all tests that are skipped here for one reason.
        pytest.skip(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Skip a test whose fixtures start a server that is not installed."""
    with skipping_missing_servers():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Skip a test that starts a server that is not installed."""
    with skipping_missing_servers():
        return (yield)


@pytest.fixture(autouse=True)
def every_test_sees_its_tasks(no_task_fails_unseen: None) -> None:
    """Apply a fixture of the plugin to all tests."""


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that moves only when the test moves it."""
    return ManualClock()


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    """Collect nothing during a test that reaches the recursion limit.

    The end of another test's object would fail there, and be blamed on this one.
    """
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a file system of 8 MB."""
    with small_disk(tmp_path / "small") as folder:
        yield folder


@pytest.fixture(scope="session")
def servers() -> Iterator[SharedServers]:
    """Provide the servers that tests share, each with names of its own.

    Tests that stop or freeze a server start their own one.
    """
    with SharedServers() as servers:
        yield servers


@pytest.fixture(scope="session")
def redis_url(servers: SharedServers) -> str:
    """Return the URL of the shared Redis server."""
    return servers.url(RedisServer)


def pytest_collection_finish() -> None:
    """Leave the collected tests out of garbage collections: thousands would make each one slow."""
    gc.collect()
    gc.freeze()
