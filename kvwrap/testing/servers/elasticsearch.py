"""OpenSearch with the face of Elasticsearch, for tests of Elasticsearch's client."""

from __future__ import annotations

import http.client
import http.server
import json
import ssl
import threading
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

_JSON: Final = "application/json"
_COMPATIBLE: Final = "application/vnd.elasticsearch+json; compatible-with=9"
_VERSION: Final = "9.0.0"
_METHODS: Final = ("GET", "PUT", "POST", "DELETE", "HEAD")


class Request(NamedTuple):
    """A request that passes through an `ElasticsearchProxy`.

    Attributes:
        method: The method of HTTP.
        path: The path, with the parameters.
        body: The body.
        authorization: The header of that name, or None.
    """

    method: str
    path: str
    body: bytes
    authorization: str | None


class Reply(NamedTuple):
    """An answer of an `ElasticsearchProxy` instead of the server's.

    Attributes:
        status: The status of HTTP.
        body: What is sent: as it is if it is a text, else as JSON. None for nothing.
    """

    status: int
    body: Any = None


class ElasticsearchProxy:
    """Passes requests on to OpenSearch, and its answers back as Elasticsearch sends them.

    It adds the header by which Elasticsearch's client knows its product, translates the media types
    that the client sends, and reports a version of Elasticsearch. Everything else is OpenSearch's:
    it shows that the client's requests and answers are as expected, and nothing of the engine.

    Args:
        url: URL of OpenSearch.
        intercept: Gets each request. What it returns is answered, unless that is None.
        certificate: File with a certificate and file with its key, for TLS; None for none.
        product: What the header of the product says.

    Attributes:
        port: TCP port on 127.0.0.1.
    """

    def __init__(
        self,
        url: str,
        *,
        intercept: Callable[[Request], Reply | None] = lambda request: None,
        certificate: tuple[Path, Path] | None = None,
        product: str = "Elasticsearch",
    ) -> None:
        handlers = {f"do_{method}": _Handler.pass_on for method in _METHODS}
        handler = type(
            "Handler",
            (_Handler,),
            {"upstream": url, "intercept": intercept, "product": product, **handlers},
        )
        self._server = _Server(("127.0.0.1", 0), handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.context = context
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.port: int = self._server.server_address[1]

    @property
    def url(self) -> str:
        """The URL of the proxy, without a prefix of indexes."""
        return f"elasticsearch://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(http.server.ThreadingHTTPServer):
    """The server, which ends with the process."""

    daemon_threads = True
    context: ssl.SSLContext | None = None

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        if self.context is not None:
            # The handshake is made by the connection's own thread.
            connection = self.context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that go away."""


class _Handler(http.server.BaseHTTPRequestHandler):
    """Handles the requests of one connection."""

    protocol_version = "HTTP/1.1"
    # An answer is sent at once, as its headers without the body would be acknowledged late.
    wbufsize = -1
    upstream: str
    product: str
    intercept: Callable[[Request], Reply | None]

    def pass_on(self) -> None:
        """Answer a request."""
        length = int(self.headers.get("content-length", 0))
        request = Request(
            self.command, self.path, self.rfile.read(length), self.headers.get("authorization")
        )
        reply = type(self).intercept(request)
        if reply is None:
            self._answer(*self._ask(request))
        else:
            is_text = isinstance(reply.body, str)
            body = reply.body if is_text else json.dumps(reply.body) if reply.body else ""
            self._answer(reply.status, body.encode(), "text/plain" if is_text else _JSON)

    def _ask(self, request: Request) -> tuple[int, bytes]:
        """Ask OpenSearch. Returns status and body of its answer."""
        upstream = http.client.HTTPConnection(urlsplit(self.upstream).netloc)
        try:
            upstream.request(
                request.method, request.path, request.body or None, {"content-type": _JSON}
            )
            response = upstream.getresponse()
            body = response.read()
        finally:
            upstream.close()
        if self.path == "/" and response.status == HTTPStatus.OK:
            described = json.loads(body)
            described["version"].pop("distribution", None)
            described["version"]["number"] = _VERSION
            body = json.dumps(described).encode()
        return response.status, body

    def _answer(self, status: int, body: bytes, kind: str = _JSON) -> None:
        self.send_response(status)
        self.send_header("x-elastic-product", self.product)
        if kind == _JSON and "vnd.elasticsearch" in self.headers.get("accept", ""):
            kind = _COMPATIBLE
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Write nothing."""
