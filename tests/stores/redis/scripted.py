"""A server that speaks the protocol of Redis and gives the answers that a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from tests.stores.redis.loopback import LoopbackServer

_ADMINISTRATION: Final = {b"HELLO", b"AUTH", b"SELECT", b"PING"}
_DATA: Final = {b"SET", b"EVALSHA"}


class ScriptedServer(LoopbackServer):
    """Stores nothing: answers reads with nothing and writes with success, or with an error.

    Attributes:
        error: Answer to every command about data, such as "LOADING wait"; empty for none.
        failures: Number of commands that get the error; the later ones get none.
        connections: Number of connections opened so far.
        killed: Number of connections that it was told to kill.
        script: Gives the answer to each script that the store runs.
        port: Its port.
    """

    def __init__(self) -> None:
        super().__init__()
        self.error = ""
        self.failures = 0
        self.connections = 0
        self._answers_left: int | None = None
        self.killed = 0
        self.script: Callable[[], bytes] = lambda: b":1\r\n"

    def fail(self, error: str, times: int = 1_000) -> None:
        """Answer the next commands about data with an error."""
        self.error, self.failures = error, times

    def lives_for(self, answers: int) -> None:
        """Close the connection after this number of answers to commands about data, once."""
        self._answers_left = answers

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while line := await reader.readline():
                command = []
                for _ in range(int(line[1:])):
                    size = int((await reader.readline())[1:])
                    command.append((await reader.readexactly(size + 2))[:-2])
                if self._answers_left is not None and command[0] in _DATA:
                    if not self._answers_left:
                        self._answers_left = None
                        return
                    self._answers_left -= 1
                writer.write(self.answer(command))
        except OSError:
            pass  # the store has aborted the connection
        finally:
            writer.close()

    def answer(self, command: list[bytes]) -> bytes:
        name = command[0].upper()
        if name == b"CLIENT" and command[1] == b"INFO":
            text = b"id=%d addr=127.0.0.1:1 laddr=127.0.0.1:2" % self.connections
            return b"$%d\r\n%s\r\n" % (len(text), text)
        if name == b"CLIENT" and command[1] == b"KILL":
            self.killed += 1
            return b":1\r\n"
        if name in _ADMINISTRATION or name == b"CLIENT":
            return b"+OK\r\n"
        if self.failures:
            self.failures -= 1
            return f"-{self.error}\r\n".encode()
        if name == b"MGET":
            return b"*%d\r\n" % (len(command) - 1) + b"$-1\r\n" * (len(command) - 1)
        return self.script() if name == b"EVALSHA" else b"+OK\r\n"
