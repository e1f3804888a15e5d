"""For Starlette and FastAPI: sessions kept on the server, cached responses, health, metrics."""

from kvwrap.integrations.starlette.cache import ResponseCache
from kvwrap.integrations.starlette.health import healthz
from kvwrap.integrations.starlette.lifespan import lifespan
from kvwrap.integrations.starlette.metrics import metrics
from kvwrap.integrations.starlette.sessions import ServerSessions, Session

__all__ = ["ResponseCache", "ServerSessions", "Session", "healthz", "lifespan", "metrics"]
