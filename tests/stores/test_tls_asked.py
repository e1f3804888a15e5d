"""One side of a connection that uses TLS: the error of every server store says so."""

from __future__ import annotations

import asyncio
import gc
import ssl
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kvwrap import StoreTimeout, StoreUnavailable, store_from_url
from kvwrap.testing.servers.certificates import make_certificates

URLS = {
    "redis": "redis://127.0.0.1:{port}",
    "valkey": "valkey://127.0.0.1:{port}",
    "redis+cluster": "redis+cluster://127.0.0.1:{port}",
    "postgresql": "postgresql://user@127.0.0.1:{port}/d",
    "memcached": "memcached://127.0.0.1:{port}",
    "mongodb": "mongodb://127.0.0.1:{port}/d",
    "nats": "nats://127.0.0.1:{port}/b",
    "etcd": "etcd://127.0.0.1:{port}",
    "elasticsearch": "elasticsearch://127.0.0.1:{port}",
    "opensearch": "opensearch://127.0.0.1:{port}",
    "dynamodb": "dynamodb://table?region=x&endpoint_url={http}://127.0.0.1:{port}",
    "s3": "s3://bucket?region=x&endpoint={http}://127.0.0.1:{port}",
}

# Some drivers leave the sockets of failed handshakes to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(autouse=True)
def _collect_sockets() -> Iterator[None]:
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@asynccontextmanager
async def listening(answer: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve connections that get this answer to what they send first. Yields the port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(1000)
            writer.write(answer)
            await writer.drain()
        except OSError:
            pass
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def message_of(url: str, port: int, http: str, **options: str) -> str:
    given = "&".join(f"{name}={value}" for name, value in {"timeout": "5", **options}.items())
    url = url.format(port=port, http=http)
    async with store_from_url(f"{url}{'&' if '?' in url else '?'}{given}") as store:
        with pytest.raises((StoreUnavailable, StoreTimeout)) as caught:
            await store.get("a")
    return str(caught.value)


@pytest.mark.parametrize("kind", URLS)
async def test_none_is_asked_of_a_server_that_expects_it(kind: str, tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.server_cert, files.server_key)
    async with listening(b"", context) as port:
        assert "TLS" in await message_of(URLS[kind], port, "http")


# The driver of MongoDB goes on trying in the background, and its error is the same for all causes.
@pytest.mark.parametrize("kind", [kind for kind in URLS if kind != "mongodb"])
async def test_it_is_asked_of_a_server_without(kind: str) -> None:
    options = {} if kind in ("dynamodb", "s3") else {"tls": "true"}
    async with listening(b"N O\r\n") as port:
        assert "TLS" in await message_of(URLS[kind], port, "https", **options)
