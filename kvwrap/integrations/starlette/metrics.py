"""What Prometheus scrapes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from kvwrap.core.optional import need

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


def metrics(
    registry: CollectorRegistry | None = None,
) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint with the metrics of this process: `Route("/metrics", metrics())`.

    Register stores with `kvwrap.integrations.prometheus.register`. Each worker has metrics of its
    own, so give each a port, or let a scrape meet them by chance. Anybody who reaches the endpoint
    reads the names of stores and collections; route it to an internal address only.

    Args:
        registry: The registry; the default registry of `prometheus-client` if omitted.

    Raises:
        ConfigurationError: `prometheus-client` is not installed.
    """
    client = need("prometheus_client", extra="prometheus", wanted_by="metrics")
    chosen = client.REGISTRY if registry is None else registry

    async def endpoint(request: Request) -> Response:
        return Response(
            client.generate_latest(chosen),
            headers={"content-type": client.CONTENT_TYPE_LATEST, "cache-control": "no-store"},
        )

    return endpoint
