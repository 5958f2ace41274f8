"""Requests that the gateway leaves to the ASGI app (the management API)."""

from typing import Any
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from serai.gateway.request import Request

_BODY_HIGH_WATER = 64 * 1024


class AsgiSink:
    """Feeds a request's body to the app's request cycle."""

    __slots__ = ("cycle", "flow")

    def __init__(self, cycle: RequestResponseCycle, flow: Any) -> None:
        self.cycle = cycle
        self.flow = flow

    def body(self, data: bytes) -> None:
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.body += data
            if len(cycle.body) > _BODY_HIGH_WATER:
                self.flow.pause_reading()
            cycle.message_event.set()

    def end(self) -> None:
        if not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def lost(self) -> None: ...

    def client_full(self) -> None: ...

    def client_ready(self) -> None: ...

    def tick(self, now: float) -> None: ...


def scope_of(connection: Any, request: Request) -> Any:
    """The ASGI scope of a request on a connection (a GatewayProtocol)."""
    raw_path, _, query = request.url.partition(b"?")
    path = raw_path.decode("latin-1")
    root = connection.root_path
    return {
        "type": "http",
        "asgi": {"version": connection.asgi_version, "spec_version": "2.3"},
        "http_version": "1.1" if request.http11 else "1.0",
        "server": connection.server,
        "client": connection.client,
        "scheme": connection.scheme or "http",
        "method": request.method.decode("ascii"),
        "root_path": root,
        "path": root + (unquote(path) if "%" in path else path),
        "raw_path": root.encode("ascii") + raw_path,
        "query_string": query,
        "headers": request.headers,
        "state": connection.app_state.copy(),
    }
