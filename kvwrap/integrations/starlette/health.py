"""Whether the backends of an application respond."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kvwrap.core.health import Reached, reach
from kvwrap.core.store import Store
from kvwrap.core.validation import checked_flag, checked_seconds
from kvwrap.errors import ConfigurationError

_STATUSES = ("ok", "degraded", "unavailable")

_log = logging.getLogger("kvwrap.integrations")


def healthz(
    *stores: Store, timeout: float = 5.0, fresh_for: float = 1.0, details: bool = False
) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that tells whether stores respond: `Route("/healthz", healthz(store))`.

    The answer is 503 with `unavailable` if a stack's backend does not respond, unless a fallback
    does, or if the stack does not, for example because its keys cannot be fetched. It is 200 with
    `degraded` if only a second store fails, or a fallback responds in a backend's place; and 200
    with `ok` otherwise. What fails is logged (`kvwrap.integrations`).

    Args:
        stores: The stores.
        timeout: Seconds that each backend has to respond.
        fresh_for: Seconds for which an answer is given again, so that many requests make few calls
            of the backends. Requests that wait share one check.
        details: Whether the answer has an entry for each part, with its location and seconds. It
            shows servers and ports, never passwords: for internal addresses only.

    Raises:
        ConfigurationError: There is no store, or an argument cannot work.
    """
    if not stores or not all(isinstance(store, Store) for store in stores):
        raise ConfigurationError("`stores` must be one or more stores")
    checked_seconds(timeout, "timeout")
    checked_seconds(fresh_for, "fresh_for")
    checked_flag(details, "details")
    checking: asyncio.Task[list[list[Reached]]] | None = None
    until = 0.0

    async def check() -> list[list[Reached]]:
        nonlocal until
        found = [await reach(store, timeout) for store in stores]
        for each in chain.from_iterable(found):
            if each.error is not None:
                _log.warning("%s%s does not respond: %s", each.role, each.part, each.error)
        until = asyncio.get_running_loop().time() + fresh_for
        return found

    async def endpoint(request: Request) -> Response:
        nonlocal checking
        loop = asyncio.get_running_loop()
        if (
            checking is None
            or checking.get_loop() is not loop
            or (checking.done() and loop.time() >= until)
        ):
            checking = asyncio.create_task(check())
        # A request that is cancelled does not end the check that others wait for.
        found = await asyncio.shield(checking)
        status = max(map(_status, found), key=_STATUSES.index)
        body: dict[str, Any] = {"status": status}
        if details:
            body["parts"] = [
                {"part": each.role + each.part, "seconds": each.seconds, "error": each.error}
                for each in chain.from_iterable(found)
            ]
        code = 503 if status == _STATUSES[-1] else 200
        return JSONResponse(body, code, {"cache-control": "no-store"})

    return endpoint


def _status(parts: Sequence[Reached]) -> str:
    """Return the status of one stack, whose own backend is the first of the parts."""
    failed = [each for each in parts if each.error is not None]
    has_fallback = any(each.role == "fallback: " and each.error is None for each in parts)
    if any(not each.role for each in failed) and not (parts[0] in failed and has_fallback):
        return "unavailable"
    return "degraded" if failed else "ok"
