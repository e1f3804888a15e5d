"""`LocalServer` with a small server of the test: what a subclass defines, and what it gets."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kvwrap import ConfigurationError, StoreUnavailable
from kvwrap.testing.servers import LocalServer

SERVER = """
import socket, sys, time
port, folder, *arguments = sys.argv[1:]
if "--refuse" in arguments:
    sys.exit("refused to start, " * 100 + "for the test")
time.sleep(0.1)
with open(folder + "/starts", "a") as file:
    file.write("started\\n")
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", int(port)))
server.listen()
while True:
    connection, _ = server.accept()
    with connection:
        connection.sendall(" ".join(arguments).encode() + b".")
"""


class EchoServer(LocalServer):
    """Answers every connection with its arguments, 0.1 s after its start."""

    program_name = sys.executable
    folder = Path("/nowhere")

    @property
    def url(self) -> str:
        return f"echo://127.0.0.1:{self.port}"

    def command(self, folder: Path) -> Sequence[str]:
        self.folder = folder
        return ["-I", "-S", "-c", SERVER, str(self.port), str(folder)]

    def answers(self, timeout: float = 1.0) -> bool:
        try:
            return self.reply(timeout).endswith(".")
        except OSError:
            return False

    def reply(self, timeout: float = 1.0) -> str:
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            return connection.recv(1000).decode()

    @property
    def starts(self) -> int:
        return (self.folder / "starts").read_text().count("started")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_start_waits_until_the_server_answers() -> None:
    server = EchoServer()
    assert server.port == 0
    try:
        assert server.start() is server
        assert server.answers()
        assert is_running(server.pid)
        assert server.url == f"echo://127.0.0.1:{server.port}"
    finally:
        server.stop()


def test_arguments_are_added_to_the_command_line() -> None:
    with EchoServer("--one", "two") as server:
        assert server.reply() == "--one two."
        assert server.arguments == ("--one", "two")


def test_each_server_has_its_own_port_and_folder() -> None:
    with EchoServer() as one, EchoServer() as other:
        assert one.port != other.port
        assert one.folder != other.folder
        assert one.starts == other.starts == 1


def test_another_program_can_be_run(tmp_path: Path) -> None:
    program = tmp_path / "another-python"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    with EchoServer(program=str(program)) as server:
        assert server.program == program
        assert server.answers()


def test_a_restart_keeps_port_and_folder() -> None:
    with EchoServer() as server:
        port, folder, pid = server.port, server.folder, server.pid
        server.restart()
        assert (server.port, server.folder) == (port, folder)
        assert server.starts == 2
        assert server.answers()
        assert not is_running(pid)


def test_a_killed_server_can_be_started_again() -> None:
    with EchoServer() as server:
        port, pid = server.port, server.pid
        server.kill()
        server.kill()
        assert not server.answers()
        assert not is_running(pid)
        assert server.folder.exists()
        with pytest.raises(StoreUnavailable, match=r"not running; call start\(\)"):
            _ = server.pid
        server.start()
        assert server.port == port
        assert server.answers()


def test_a_running_server_is_not_started_twice() -> None:
    with EchoServer() as server:
        pid = server.pid
        assert server.start() is server
        assert server.pid == pid
        assert server.starts == 1


def test_a_server_that_ended_by_itself_is_started_again() -> None:
    with EchoServer() as server:
        pid = server.pid
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert server.start().pid != pid
        assert server.answers()


def test_a_server_that_was_started_keeps_its_port_or_fails() -> None:
    with EchoServer() as server:
        port, url = server.port, server.url
        server.arguments = ("--refuse",)
        with pytest.raises(StoreUnavailable, match=f"did not start on its port {port}: "):
            server.restart()
        server.arguments = ()
        assert server.start().url == url


def test_a_frozen_server_does_not_answer_until_it_is_thawed() -> None:
    with EchoServer() as server:
        server.freeze()
        assert not server.answers(timeout=0.1)
        assert is_running(server.pid)
        server.thaw()
        assert server.answers()
        server.freeze()
    assert not server.answers(timeout=0.1)


def test_stop_leaves_no_process_and_no_folder() -> None:
    with EchoServer() as server:
        pid, folder = server.pid, server.folder
    assert not is_running(pid)
    assert not folder.exists()
    server.stop()
    for call in (server.freeze, server.thaw):
        with pytest.raises(StoreUnavailable):
            call()


def test_a_stopped_server_starts_empty_on_the_same_port() -> None:
    server = EchoServer()
    with server:
        port = server.port
    with server:
        assert server.port == port
        assert server.starts == 1


def test_another_port_is_used_when_the_port_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server = EchoServer()
        server.port = taken.getsockname()[1]
        with server:
            assert server.port != taken.getsockname()[1]
            assert server.answers()


def test_a_server_that_does_not_start_is_reported_with_the_end_of_its_log() -> None:
    server = EchoServer("--refuse")
    with pytest.raises(StoreUnavailable, match=r"did not start: .*for the test$") as raised:
        server.start()
    assert len(str(raised.value)) < 1000
    assert not server.folder.exists()
    with pytest.raises(StoreUnavailable):
        _ = server.pid


def test_an_exception_stops_the_server() -> None:
    server = EchoServer()
    with pytest.raises(LookupError), server:
        raise LookupError("by the test")
    assert not server.answers()
    assert not server.folder.exists()


def test_a_missing_program_is_reported_with_the_way_out() -> None:
    with pytest.raises(ConfigurationError, match=r"no-such-server must be installed.*make servers"):
        EchoServer(program="no-such-server")


@pytest.mark.parametrize(
    "use",
    [
        lambda server: server.url,
        lambda server: server.command(Path()),
        lambda server: server.answers(),
    ],
)
def test_a_subclass_must_define_its_server(use: Callable[[LocalServer], object]) -> None:
    class Undefined(LocalServer):
        program_name = sys.executable

    with pytest.raises(NotImplementedError):
        use(Undefined())
