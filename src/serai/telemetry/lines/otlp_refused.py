"""Traces and metrics of exporters: read, counted, and told that none of them was taken.

The official SDK sends them to where it sends logs, whatever it is told, and would log an error for
each answer that is one. A collector of one's own is where they belong.
"""

from typing import Any

from serai.kernel.errors import BadRequest
from serai.telemetry.lines.otlp_size import METRICS, TRACES, check_size

REASON = "Serai takes logs of workloads, not their traces and metrics: send these to a collector."


def refused_traces(body: bytes, is_json: bool) -> bytes:
    """The answer to an ``ExportTraceServiceRequest``, in the format of the request.

    Raises:
        BadRequest: it cannot be read.
        PayloadTooLarge: it has too many parts.
    """
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTraceServiceRequest,
        ExportTraceServiceResponse,
    )

    check_size(body, is_json, TRACES)
    request = _read(ExportTraceServiceRequest(), body, is_json)
    scopes = (scope for each in request.resource_spans for scope in each.scope_spans)
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = sum(len(scope.spans) for scope in scopes)
    return _answer(response, is_json)


def refused_metrics(body: bytes, is_json: bool) -> bytes:
    """The same for an ``ExportMetricsServiceRequest``."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
        ExportMetricsServiceResponse,
    )

    check_size(body, is_json, METRICS)
    request = _read(ExportMetricsServiceRequest(), body, is_json)
    scopes = (scope for each in request.resource_metrics for scope in each.scope_metrics)
    response = ExportMetricsServiceResponse()
    response.partial_success.rejected_data_points = sum(
        _points(metric) for scope in scopes for metric in scope.metrics
    )
    return _answer(response, is_json)


def _points(metric: Any) -> int:
    which = metric.WhichOneof("data")
    return len(getattr(metric, which).data_points) if which else 0


def _read(request: Any, body: bytes, is_json: bool) -> Any:
    from google.protobuf.json_format import Parse, ParseError
    from google.protobuf.message import DecodeError

    try:
        if is_json:
            return Parse(body, request, ignore_unknown_fields=True)
        request.ParseFromString(body)
    except (DecodeError, ParseError, UnicodeDecodeError, RecursionError):
        name = request.DESCRIPTOR.name
        raise BadRequest(f"The body is no {name} in {'JSON' if is_json else 'protobuf'}.") from None
    return request


def _answer(response: Any, is_json: bool) -> bytes:
    from google.protobuf.json_format import MessageToJson

    response.partial_success.error_message = REASON
    encoded: bytes = (
        MessageToJson(response, indent=None).encode() if is_json else response.SerializeToString()
    )
    return encoded
