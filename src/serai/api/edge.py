"""The outermost layer of every management request: id, alias, version, errors and the log line."""

import re
import time
from typing import Any

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from serai.api.errors import envelope, translate
from serai.api.exchange import Origin, begin_origin
from serai.api.versions import HEADER, VersionRegistry
from serai.kernel.errors import SeraiError
from serai.kernel.ids import new_uuid

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}\Z")
ALIASES = ("/api/v0", "/api")
SANDBOX_ACTION = re.compile(r"/v0/sandboxes(/[^/]+)?\Z")
USER_AGENT_MAX = 256
OFTEN = frozenset({"/v1/logs", "/v1/metrics", "/v1/traces"})
"""Paths that programs ask for with every line they print, or so: told from status 400 on."""
log = structlog.get_logger("serai.access")


class Edge:
    """ASGI middleware around the whole application.

    ``/api/v0/…`` and ``/api/…`` answer as ``/v0/…``: one client prefixes its calls with ``/api``.
    """

    def __init__(self, app: ASGIApp, versions: VersionRegistry) -> None:
        self.app = app
        self.versions = versions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; no exception leaves this method."""
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        exchange = Exchange(scope, send)
        structlog.contextvars.bind_contextvars(request_id=exchange.request_id)
        begin_origin(exchange.origin())
        try:
            exchange.path = _canonical(scope)
            if exchange.path.startswith("/v0/"):
                exchange.version = self.versions.resolve(exchange.header(b"blaxel-version"))
                scope["state"]["version"] = exchange.version
            await self.app(scope, receive, exchange.send)
        except Exception as problem:
            await exchange.fail(problem)
        finally:
            exchange.log()
            structlog.contextvars.unbind_contextvars("request_id")


class Exchange:
    """One request on its way: what its answer and its log line need."""

    def __init__(self, scope: HTTPScope, send: Send) -> None:
        self.scope = scope
        self._send = send
        self.path = scope["path"]
        self.version: str | None = None
        self.status = 0
        self.started = time.perf_counter()
        given = self.raw_header(b"x-request-id")
        self.request_id = given.decode() if given and REQUEST_ID.match(given) else new_uuid()
        scope.setdefault("state", {})["request_id"] = self.request_id

    def raw_header(self, name: bytes) -> bytes | None:
        """The first header of that (lowercase) name."""
        return next((value for key, value in self.scope["headers"] if key == name), None)

    def header(self, name: bytes) -> str | None:
        """The first header of that (lowercase) name as text."""
        value = self.raw_header(name)
        return value.decode("latin-1").strip() if value is not None else None

    def origin(self) -> Origin:
        """Where this request comes from."""
        peer = self.scope.get("client")
        return Origin(
            client=str(peer[0]) if peer else "",
            user_agent=(self.header(b"user-agent") or "")[:USER_AGENT_MAX],
            request_id=self.request_id,
            if_match=self.header(b"if-match"),
        )

    async def send(self, message: Message) -> None:
        """Pass a message on; the first one gets our headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message["headers"], (b"x-request-id", self.request_id.encode())]
            if self.version:
                headers.append((HEADER.lower().encode(), self.version.encode()))
            message["headers"] = headers
        await self._send(message)

    async def fail(self, problem: Exception) -> None:
        """Render an error, unless the answer has begun already."""
        error = translate(problem)
        if error.status >= 500 and not isinstance(problem, SeraiError):
            log.error("request_failed", path=self.path, exc_info=problem)
        if self.status:
            return
        await self.answer_error(error)

    async def answer_error(self, error: SeraiError) -> None:
        """Send the envelope that this route's clients parse."""
        action = self.scope["method"] != "GET" and SANDBOX_ACTION.match(self.path) is not None
        action = action and (self.scope["method"] == "POST" or b"upload" in self.query)
        body, extra = envelope(error, sandbox_action=action)
        headers = [(b"content-type", b"application/json")]
        headers.append((b"content-length", str(len(body)).encode()))
        headers += [(key.lower().encode(), value.encode()) for key, value in extra.items()]
        start: Any = {"type": "http.response.start", "status": error.status, "headers": headers}
        await self.send(start)
        end: Any = {"type": "http.response.body", "body": body, "more_body": False}
        await self.send(end)

    @property
    def query(self) -> bytes:
        """The raw query string."""
        return self.scope["query_string"]

    def log(self) -> None:
        """One line per request; never a header, a body or a query (they may hold secrets)."""
        quiet = self.path in OFTEN and 0 < self.status < 400
        (log.debug if quiet else log.info)(
            "request",
            method=self.scope["method"],
            path=self.path,
            status=self.status or 499,
            ms=round((time.perf_counter() - self.started) * 1000, 2),
        )


def _canonical(scope: Scope) -> str:
    path: str = scope["path"]
    for alias in ALIASES:
        if path.startswith(alias + "/"):
            path = "/v0" + path[len(alias) :]
            scope["path"] = path
            scope["raw_path"] = path.encode()
            break
    return path
