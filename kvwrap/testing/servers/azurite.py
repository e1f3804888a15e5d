"""A server with the interface of Azure's blob storage for tests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import quote, urlsplit

from kvwrap.testing.servers.http import HTTPServer

_ACCOUNT: Final = "devstoreaccount1"
_KEY: Final = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
_VERSION: Final = "2021-08-06"
_PATIENCE: Final = """
const http = require("http");
const create = http.createServer;
http.createServer = (...options) => {
  const server = create(...options);
  Object.defineProperty(server, "keepAliveTimeout", { get: () => 600_000, set: () => {} });
  return server;
};
"""
"""Azurite ends a connection after 5 seconds without a request, also if one has just arrived that it
has not seen yet, on a busy machine. Its option for that has no effect."""


class AzuriteServer(HTTPServer):
    """Azurite, which has the interface of Azure's blob storage, started by this process, empty.

    It keeps its data when it is restarted.

    >>> with AzuriteServer() as server:  # doctest: +SKIP
    ...     server.make_container(server.url, "container")
    ...     store = ObjectStore(f"az://{server.login}@container", endpoint=server.url)

    Args:
        arguments: Additional arguments for the server's command line.
        program: Name or path of the program to run instead of `azurite-blob`.

    Raises:
        MissingServerError: `azurite-blob` is not installed.
    """

    login: ClassVar[str] = f"{_ACCOUNT}:{quote(_KEY, safe='')}"
    """The account and its key, as a URL has them."""
    program_name: ClassVar[str] = "azurite-blob"
    start_timeout: ClassVar[float] = 60.0

    @property
    def url(self) -> str:
        """The endpoint of the account `devstoreaccount1`, with the key that Azurite documents."""
        return f"http://127.0.0.1:{self.port}/{_ACCOUNT}"

    def command(self, folder: Path) -> Sequence[str]:
        return [
            *("--blobHost", "127.0.0.1", "--blobPort", str(self.port)),
            *("--location", str(folder), "--silent", "--disableTelemetry", "--skipApiVersionCheck"),
        ]

    def prepare(self, folder: Path) -> None:
        (folder / "patience.js").write_text(_PATIENCE)

    def environment(self, folder: Path) -> Mapping[str, str]:
        return {"NODE_OPTIONS": f"--require={folder / 'patience.js'}"}

    @staticmethod
    def make_container(url: str, name: str) -> None:
        """Create a container, unless it exists.

        Args:
            url: URL of a server of this class.
            name: Name of the container.
        """
        path = f"{urlsplit(url).path}/{name}"
        date = formatdate(usegmt=True)
        signed = "\n".join(
            (
                "PUT",
                *[""] * 11,
                f"x-ms-date:{date}",
                f"x-ms-version:{_VERSION}",
                f"/{_ACCOUNT}{path}",
                "restype:container",
            )
        )
        code = hmac.digest(base64.b64decode(_KEY), signed.encode(), hashlib.sha256)
        headers = {
            "x-ms-date": date,
            "x-ms-version": _VERSION,
            "Authorization": f"SharedKey {_ACCOUNT}:{base64.b64encode(code).decode()}",
            "Content-Length": "0",
        }
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        connection.request("PUT", f"{path}?restype=container", headers=headers)
        status = connection.getresponse().status
        connection.close()
        made = status in (http.client.CREATED, http.client.CONFLICT)
        assert made, f"the container was not created: status {status}"
