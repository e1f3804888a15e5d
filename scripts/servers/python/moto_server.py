"""Moto, one request at a time.

Moto compares an object's tag in one step and replaces the object in another, while other threads
answer other requests: of 1,600 conditional increments by 16 tasks a few were lost. The services
that it stands for do both in one step.
"""

from __future__ import annotations

import threading
from typing import Any

from moto.moto_server import werkzeug_app
from moto.server import main

_lock = threading.Lock()
_answer = werkzeug_app.DomainDispatcherApplication.__call__


def _answer_alone(self: Any, environ: Any, start_response: Any) -> Any:
    with _lock:
        return _answer(self, environ, start_response)


werkzeug_app.DomainDispatcherApplication.__call__ = _answer_alone
main()
