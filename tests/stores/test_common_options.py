"""The options that the URLs of all stores on servers have: `tls`, `ca`, `cert`, `timeout`."""

from __future__ import annotations

import asyncio
import gc
import ssl
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from kvwrap import ConfigurationError, KvwrapError, StoreTimeout, store_from_url
from kvwrap.testing.servers.certificates import Certificates, make_certificates


async def begin_postgresql(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(8)
    writer.write(b"S")


async def begin_nats(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b'INFO {"server_id":"x","max_payload":1000,"tls_required":true}\r\n')


# What the server does before TLS begins, where it does anything.
URLS: dict[str, tuple[str, Callable[..., Awaitable[None]] | None]] = {
    "redis": ("redis://localhost:{port}", None),
    "redis+cluster": ("redis+cluster://localhost:{port}", None),
    "redis+sentinel": ("redis+sentinel://localhost:{port}/name", None),
    "valkey": ("valkey://localhost:{port}", None),
    "valkey+cluster": ("valkey+cluster://localhost:{port}", None),
    "postgresql": ("postgresql://user@localhost:{port}/d", begin_postgresql),
    "memcached": ("memcached://localhost:{port}", None),
    "mongodb": ("mongodb://localhost:{port}/d", None),
    "nats": ("nats://localhost:{port}/b", begin_nats),
    "etcd": ("etcd://localhost:{port}", None),
    "elasticsearch": ("elasticsearch://localhost:{port}", None),
    "opensearch": ("opensearch://localhost:{port}", None),
    "dynamodb": ("dynamodb://table?region=x&endpoint_url=https://localhost:{port}", None),
    "s3": ("s3://key:secret@bucket?region=x&endpoint=https://localhost:{port}", None),
    "az": ("az://account:a2V5@container?endpoint=https://localhost:{port}", None),
}
WITHOUT_CERTIFICATES = {"s3", "az"}
"""Those whose driver presents no certificate of its own."""
# How a connection of the servers here may end: their tasks are cancelled with the test's loop.
ENDS = (OSError, asyncio.IncompleteReadError, asyncio.CancelledError)
ONE_FILE = {"mongodb"}
"""Those whose driver takes a certificate and its key from one file."""

# Some drivers leave the sockets of failed connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(autouse=True)
def _collect_sockets() -> Iterator[None]:
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def files(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


@asynccontextmanager
async def serving(
    files: Certificates, begin: Callable[..., Awaitable[None]] | None
) -> AsyncIterator[tuple[int, list[str | None]]]:
    """Serve TLS. Yields the port, and the names in the certificates of clients."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(files.ca))
    context.load_cert_chain(files.server_cert, files.server_key)
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.verify_mode = ssl.CERT_OPTIONAL
    clients: list[str | None] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(*ENDS):
            if begin is not None:
                await begin(reader, writer)
                await writer.start_tls(context)
            # With TLS 1.3 the client may learn only now that its certificate is refused.
            if await reader.read(1):
                certificate = writer.get_extra_info("peercert")
                clients.append(certificate["subject"][0][0][1] if certificate else None)
        writer.close()

    tls = context if begin is None else None
    async with await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1], clients


def with_options(url: str, port: int, **options: object) -> str:
    given = "&".join(f"{name}={value}" for name, value in options.items())
    url = url.format(port=port)
    return f"{url}{'&' if '?' in url else '?'}{given}"


async def fail(url: str) -> KvwrapError:
    async with store_from_url(url) as store:
        with pytest.raises(KvwrapError) as caught:
            await store.get("a")
    return caught.value


@pytest.mark.parametrize("kind", URLS)
async def test_the_authority_and_the_certificate_of_a_url_are_used(
    kind: str, files: Certificates, tmp_path: Path
) -> None:
    url, begin = URLS[kind]
    options: dict[str, Any] = {"tls": "true", "ca": files.ca, "timeout": 60}
    expected: str | None = "client"
    if kind in WITHOUT_CERTIFICATES:
        expected = None
    elif kind in ONE_FILE:
        options["cert"] = tmp_path / "both.pem"
        options["cert"].write_bytes(files.client_cert.read_bytes() + files.client_key.read_bytes())
    else:
        options |= {"cert": files.client_cert, "key": files.client_key}
    async with serving(files, begin) as (port, clients):
        await fail(with_options(url, port, **options))
        assert set(clients) == {expected}


@pytest.mark.parametrize("kind", URLS)
async def test_an_unknown_authority_is_refused(
    kind: str, files: Certificates, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = make_certificates(tmp_path / "other")
    url, begin = URLS[kind]
    async with serving(files, begin) as (port, clients):
        for options in ({"ca": other.ca}, {"tls": "true"}):
            await fail(with_options(url, port, timeout=3, **options))
        assert clients == []


@pytest.mark.parametrize("kind", URLS)
def test_options_that_contradict_each_other_are_refused(kind: str, files: Certificates) -> None:
    url, _ = URLS[kind]
    for options in (
        {"tls": "false", "ca": files.ca},
        {"tls": "perhaps"},
        {"ca": files.server_key},
        {"ca": "/missing"},
        {"timeout": 0},
        {"timeout": "soon"},
    ):
        with pytest.raises(ConfigurationError) as caught:
            store_from_url(with_options(url, 1, **options))
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("kind", URLS)
async def test_the_timeout_of_a_url_ends_calls(kind: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(*ENDS):
            while await reader.read(1000):
                pass
        writer.close()

    url = URLS[kind][0].replace("https://", "http://")
    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        error = await asyncio.wait_for(fail(with_options(url, port, timeout=0.3)), 60)
    assert isinstance(error, StoreTimeout)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mongodb://h/d?ca={ca}&tlsCAFile=/x", "got both, and 'tlsCAFile'"),
        ("mongodb://h/d?cert={both}&key={key}", "append the private key"),
        ("dynamodb://table?region=x&endpoint_url=http://h&tls=true", "must begin with https://"),
        ("dynamodb://table?region=x&tls=false", "for none"),
        ("s3://bucket?endpoint=http://h&ca={ca}", "must begin with https://"),
        ("az://container?endpoint=https://h&tls=false", "for none"),
    ],
)
def test_what_only_some_drivers_refuse(url: str, message: str, files: Certificates) -> None:
    both = files.ca.with_name("both.pem")
    both.write_bytes(files.client_cert.read_bytes() + files.client_key.read_bytes())
    url = url.format(both=both, key=files.client_key, ca=files.ca)
    with pytest.raises(ConfigurationError, match=message):
        store_from_url(url)
