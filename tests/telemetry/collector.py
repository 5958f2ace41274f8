"""An OTLP/HTTP collector on a real port, which decodes with OpenTelemetry's own messages."""

import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Collector:
    """``spans`` are those it took; ``answers`` are statuses for the next requests, then 200."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answers: deque[int] = deque()
        self.rejects = 0
        handler = type("Bound", (_Handler,), {"collector": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    collector: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        status = self.collector.answers.popleft() if self.collector.answers else 200
        self.collector.headers.append({k.lower(): v for k, v in self.headers.items()})
        told = ExportTraceServiceResponse()
        if status == 200:
            assert self.path == "/v1/traces"
            assert self.headers["content-type"] == "application/x-protobuf"
            self._take(ExportTraceServiceRequest.FromString(body))
            told.partial_success.rejected_spans = self.collector.rejects
        data = told.SerializeToString()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            self.collector.resources.append(attributes(resource.resource))
            for scope in resource.scope_spans:
                self.collector.spans += scope.spans

    def log_message(self, *args: Any) -> None: ...


def attributes(holder: Any) -> dict[str, Any]:
    """The attributes of a span or a resource."""
    found = {}
    for each in holder.attributes:
        found[each.key] = getattr(each.value, each.value.WhichOneof("value"))
    return found
