"""A TCP proxy between a store and a server, for one event loop."""

from __future__ import annotations

import asyncio
import contextlib

from tests.stores.redis.loopback import LoopbackServer


class Proxy(LoopbackServer):
    """Forwards connections to a port of this machine.

    Args:
        target: The port to connect to.
        bytes_per_second: Maximum speed towards the server; None for no limit.

    Attributes:
        target: As above. A change applies to new connections, as that of a DNS name does.
        port: Its own port.
        holds: True once it keeps something, since `hold`.
    """

    def __init__(self, target: int, *, bytes_per_second: float | None = None) -> None:
        super().__init__()
        self.target = target
        self.bytes_per_second = bytes_per_second
        self._gates: list[asyncio.Event] = []
        self.holds = False

    def hold(self) -> None:
        """Keep what comes over the present connections, until `release`."""
        self.holds = False
        for gate in self._gates:
            gate.clear()

    def release(self) -> None:
        """Send what was kept, even if those who sent it are gone."""
        for gate in self._gates:
            gate.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, requests = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        try:
            gate, opened = asyncio.Event(), asyncio.Event()
            gate.set()
            opened.set()
            self._gates.append(gate)
            await asyncio.gather(
                self._copy(reader, requests, gate, self.bytes_per_second),
                self._copy(answers, writer, opened, None),
            )
        finally:
            writer.close()
            requests.close()

    async def _copy(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        gate: asyncio.Event,
        bytes_per_second: float | None,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.holds = self.holds or not gate.is_set()
                await gate.wait()
                writer.write(data)
                await writer.drain()
                if bytes_per_second is not None:
                    await asyncio.sleep(len(data) / bytes_per_second)
        writer.close()
