"""RedisStore over TLS, with an authority that the system does not trust."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from kvwrap import ConfigurationError, RedisStore, StoreUnavailable, store_from_url
from kvwrap.testing import RedisServer
from kvwrap.testing.servers import RedisCluster
from kvwrap.testing.servers.base import free_port
from kvwrap.testing.servers.certificates import Certificates, make_certificates
from kvwrap.testing.servers.redis_cluster import ClusterMember


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def port(files: Certificates) -> Iterator[int]:
    """Return the port of a server that asks clients for their certificate."""
    port = free_port()
    with RedisServer(
        *("--tls-port", str(port), "--tls-ca-cert-file", str(files.ca)),
        *("--tls-cert-file", str(files.server_cert), "--tls-key-file", str(files.server_key)),
    ):
        yield port


@pytest.mark.parametrize(
    "url", ["redis://localhost:{port}/0?tls=true&", "rediss://127.0.0.1:{port}?"]
)
async def test_an_authority_and_a_client_certificate(
    files: Certificates, port: int, url: str
) -> None:
    options = f"ca={files.ca}&cert={files.client_cert}&key={files.client_key}&timeout=30"
    async with store_from_url(url.format(port=port) + options) as store:
        await store.put("a", 1)
        assert await store.get("a") == 1
        assert await store.destroy() is True


async def test_an_unknown_authority(files: Certificates, port: int) -> None:
    async with RedisStore(f"rediss://:hunter2@localhost:{port}", timeout=30) as store:
        with pytest.raises(StoreUnavailable, match="certificate that is not trusted") as caught:
            await store.put("a", 1)
    assert f"localhost:{port}" in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_another_host_than_that_of_the_certificate(files: Certificates, port: int) -> None:
    login = {"cert": str(files.client_cert), "key": str(files.client_key)}
    url = f"redis://127.0.0.2:{port}"
    async with RedisStore(url, ca=str(files.ca), timeout=30, **login) as store:
        with pytest.raises(StoreUnavailable):
            await store.check()


async def test_no_client_certificate_and_no_tls(files: Certificates, port: int) -> None:
    for options in ({"tls": True, "ca": str(files.ca)}, {}):
        url = f"redis://localhost:{port}"
        async with RedisStore(url, timeout=30, **options) as store:
            with pytest.raises(StoreUnavailable, match=f"localhost:{port}"):
                await store.check()


class TLSMember(ClusterMember):
    """A node with another port for TLS."""

    def command(self, folder: Path) -> Sequence[str]:
        self.tls_port = free_port()
        return [
            *(*super().command(folder), "--tls-port", str(self.tls_port)),
            *("--tls-cluster", "yes", "--tls-replication", "yes"),
        ]


class TLSCluster(RedisCluster):
    member_class = TLSMember


async def test_a_cluster_over_tls(files: Certificates) -> None:
    arguments = ("--tls-cert-file", str(files.server_cert), "--tls-key-file", str(files.server_key))
    keys = [f"k{number}" for number in range(100)]
    with TLSCluster(*arguments, "--tls-ca-cert-file", str(files.ca)) as cluster:
        member = cluster.nodes[4]
        assert isinstance(member, TLSMember)
        login = f"ca={files.ca}&cert={files.client_cert}&key={files.client_key}"
        url = f"redis+cluster://localhost:{member.tls_port}?tls=true&timeout=30"
        async with store_from_url(f"{url}&{login}") as store:
            await store.put_many(keys, keys)
            assert await store.get_many(keys) == keys
            assert await store.count() == 100
        async with store_from_url(url) as store:
            with pytest.raises(StoreUnavailable, match="certificate that is not trusted"):
                await store.get("a")


def test_options_of_tls_are_checked() -> None:
    for url, message in (
        ("redis://h?tls=perhaps", "`true` or `false`"),
        ("redis://h?tls=true&ca=/nowhere", "`ca` must be a file"),
        ("unix:///socket?tls=true", "a unix socket has none"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            RedisStore.from_url(url)
