"""Connections of asyncio that read less at a time."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from types import SimpleNamespace

import pytest

from kvwrap.stores.shared.tls import make_tls
from kvwrap.stores.shared.transports import read_in_parts
from kvwrap.testing.servers.certificates import make_certificates

SENT = bytes(1_000_000)


class Received(asyncio.Protocol):
    """Notes the sizes of what comes."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.is_over = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.sizes.append(len(data))
        if sum(self.sizes) == len(SENT):
            self.is_over.set()


@pytest.mark.parametrize("is_secured", [False, True])
async def test_a_read_has_at_most_64_kib(tmp_path: Path, is_secured: bool) -> None:
    there = here = None
    if is_secured:
        files = make_certificates(tmp_path)
        there = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        there.load_cert_chain(files.server_cert, files.server_key)
        made = make_tls(True, str(files.ca))
        assert made is not None
        here = made.context()

    async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SENT)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(send, "127.0.0.1", 0, ssl=there)
    async with server:
        host, port = server.sockets[0].getsockname()
        transport, received = await asyncio.get_running_loop().create_connection(
            Received, host, port, ssl=here
        )
        read_in_parts(transport)
        async with asyncio.timeout(60):
            await received.is_over.wait()
        transport.close()
    assert is_secured or max(received.sizes) <= 2**16  # TLS passes on several reads as one


def test_it_is_tls_that_reads_where_there_is_tls() -> None:
    secured = SimpleNamespace()
    read_in_parts(SimpleNamespace(_ssl_protocol=secured))
    assert secured.max_size == 2**16


def test_a_transport_that_cannot_be_told_is_left_as_it_is() -> None:
    read_in_parts(object())
