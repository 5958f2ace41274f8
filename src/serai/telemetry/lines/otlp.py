"""OTLP logs, as exporters send them, made lines.

Source: OpenTelemetry protocol 1.x, ``ExportLogsServiceRequest`` in protobuf and in JSON (ids in
hexadecimal, 64-bit numbers as text or number).
"""

import re
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from serai.kernel.errors import BadRequest, PayloadTooLarge
from serai.telemetry.lines.asking import TYPES
from serai.telemetry.lines.entry import Entry, Key, Origin, storable, waiting
from serai.telemetry.lines.otlp_size import LOGS, check_size

BODY_MOST = 16 * 1024 * 1024
"""Bytes of a request, unpacked."""
ATTRIBUTES_MOST = 8 * 1024
"""Bytes of the attributes that are kept of a line, as JSON."""
NAME_MOST = 256
AHEAD_NS = 600_000_000_000
"""How far a line may be in the future; one beyond is of now."""
JOB = "job"
OUTPUT = "otlp"
_HEX_ID = re.compile(r"[0-9a-f]{32}")
_NO_TRACE = "0" * 32
_LEVELS = {
    "TRACE": 1, "DEBUG": 5, "INFO": 9, "INFORMATION": 9, "WARN": 13, "WARNING": 13,
    "ERROR": 17, "CRITICAL": 21, "FATAL": 21,
}  # fmt: skip
_STACK = "exception.stacktrace"


class Taken(msgspec.Struct):
    """What became of a request: its lines, and how many were not taken and why."""

    entries: list[Entry]
    rejected: int = 0
    reason: str = ""


def unpacked(body: bytes, encoding: str) -> bytes:
    """A body as it was before it was compressed.

    Raises:
        BadRequest: it is not what its encoding says, or that is none we know.
        PayloadTooLarge: it is larger than ``BODY_MOST``.
    """
    if encoding in {"", "identity"}:
        plain = body
    elif encoding == "gzip":
        stream = zlib.decompressobj(wbits=31)
        try:
            plain = stream.decompress(body, BODY_MOST + 1)
        except zlib.error as problem:
            raise BadRequest(f"The body is not gzip: {problem}.") from None
        if not stream.eof and len(plain) <= BODY_MOST:
            raise BadRequest("The body is not gzip: it ends too early.")
    else:
        raise BadRequest(f"Content-Encoding {encoding[:40]!r} is not gzip or identity.")
    if len(plain) > BODY_MOST:
        raise PayloadTooLarge(f"A request may take {BODY_MOST} bytes: send less at a time.")
    return plain


def taken(body: bytes, is_json: bool, workspace: str) -> Taken:
    """The lines of a request for a workspace.

    Raises:
        BadRequest: it cannot be read.
        PayloadTooLarge: it has too many parts.
    """
    check_size(body, is_json, LOGS)
    request = _from_json(body) if is_json else _from_protobuf(body)
    found = Taken(entries=[])
    now_ns = time.time_ns()
    for resource_logs in request.resource_logs:
        about = _values(resource_logs.resource.attributes)
        records = [one for scope in resource_logs.scope_logs for one in scope.log_records]
        key = _key(about, workspace)
        if key is None:
            found.rejected += len(records)
            found.reason = (
                "the resource attributes workload.type (agents, functions, jobs, applications or "
                "sandboxes) and workload.id (its name) must say whose logs these are"
            )
            continue
        origin = _origin(about, key)
        found.entries += [_entry(record, key, origin, now_ns) for record in records]
    return found


def answer_of(found: Taken, is_json: bool) -> bytes:
    """An ``ExportLogsServiceResponse`` in the format of the request."""
    if is_json:
        if not found.rejected:
            return b"{}"
        said = {"rejectedLogRecords": str(found.rejected), "errorMessage": found.reason}
        return msgspec.json.encode({"partialSuccess": said})
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

    response = ExportLogsServiceResponse()
    if found.rejected:
        response.partial_success.rejected_log_records = found.rejected
        response.partial_success.error_message = found.reason
    encoded: bytes = response.SerializeToString()
    return encoded


def _from_protobuf(body: bytes) -> Any:
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    request = ExportLogsServiceRequest()
    try:
        request.ParseFromString(body)
    except DecodeError:
        raise BadRequest("The body is no ExportLogsServiceRequest in protobuf.") from None
    return request


class AnyValue(msgspec.Struct, rename="camel"):
    """A value of the JSON form; exactly one field is set, or none."""

    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    array_value: "Values | None" = None
    kvlist_value: "KeyValues | None" = None
    bytes_value: str | None = None

    def WhichOneof(self, name: str) -> str | None:
        """The name of the field that is set, as protobuf's classes tell it."""
        return next((f for f in self.__struct_fields__ if getattr(self, f) is not None), None)


class Values(msgspec.Struct):
    """An array."""

    values: list[AnyValue] = []


class KeyValue(msgspec.Struct):
    """An attribute."""

    key: str = ""
    value: AnyValue = msgspec.field(default_factory=AnyValue)


class KeyValues(msgspec.Struct):
    """A map."""

    values: list[KeyValue] = []


class Resource(msgspec.Struct):
    """Who sends."""

    attributes: list[KeyValue] = []


class LogRecordJson(msgspec.Struct, rename="camel"):
    """One line."""

    time_unix_nano: int | str = 0
    observed_time_unix_nano: int | str = 0
    severity_number: int | str = 0
    severity_text: str = ""
    body: AnyValue = msgspec.field(default_factory=AnyValue)
    attributes: list[KeyValue] = []
    trace_id: str = ""


class ScopeLogs(msgspec.Struct, rename="camel"):
    """Lines of one logger."""

    log_records: list[LogRecordJson] = []


class ResourceLogs(msgspec.Struct, rename="camel"):
    """Lines of one process."""

    resource: Resource = msgspec.field(default_factory=Resource)
    scope_logs: list[ScopeLogs] = []


class LogsRequest(msgspec.Struct, rename="camel"):
    """The JSON form of an ``ExportLogsServiceRequest``; unknown fields are passed over."""

    resource_logs: list[ResourceLogs] = []


def _from_json(body: bytes) -> LogsRequest:
    try:
        return msgspec.json.decode(body, type=LogsRequest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise BadRequest(f"The body is no ExportLogsServiceRequest in JSON: {problem}.") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply.", code="INVALID_JSON") from None


def _value(value: Any) -> Any:
    """What a value says, as JSON has it."""
    which = value.WhichOneof("value")
    if which is None:
        return None
    content = getattr(value, which)
    if which == "array_value":
        return [_value(each) for each in content.values]
    if which == "kvlist_value":
        return _values(content.values)
    if which == "bytes_value":
        return content.hex() if isinstance(content, bytes) else content
    if which == "int_value":
        return _whole(content)
    return content


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _whole(number: Any) -> int:
    if isinstance(number, int):
        return number
    text = str(number)
    if not re.fullmatch(r"-?[0-9]{1,20}", text):
        raise BadRequest(f"{text[:40]!r} is no whole number, where OTLP has one.")
    return int(text)


def _key(about: Mapping[str, Any], workspace: str) -> Key | None:
    kind = str(about.get("workload.type") or "")
    kind = TYPES.get(kind, kind)
    name = str(about.get("workload.id") or about.get("service.name") or "")
    known = kind in TYPES.values() and kind not in {"model", "image"}
    if not known or not name or len(name) > NAME_MOST or not name.isprintable():
        return None
    return workspace, kind, name


def _origin(about: Mapping[str, Any], key: Key) -> Origin:
    def told(name: str) -> str:
        return storable(str(about.get(name) or ""))[:NAME_MOST]

    return (
        "task" if key[1] == JOB else "run",
        OUTPUT,
        told("revision.id"),
        told("service.instance.id"),
        told("execution.id"),
        told("task.id"),
        "",
    )


def _entry(record: Any, key: Key, origin: Origin, now_ns: int) -> Entry:
    attributes = _values(record.attributes)
    text = _text(_value(record.body))
    stack = attributes.get(_STACK)
    if isinstance(stack, str) and stack not in text:
        text = f"{text}\n{stack}".rstrip("\n")
        del attributes[_STACK]
    at_ns = _whole(record.time_unix_nano) or _whole(record.observed_time_unix_nano)
    return Entry(
        key=key,
        at_ns=at_ns if 0 < at_ns < now_ns + AHEAD_NS else now_ns,
        origin=origin,
        severity=_severity(record),
        text=waiting(text),
        length=len(text),
        trace_id=_trace(record.trace_id),
        attributes=_kept(attributes),
    )


def _text(body: Any) -> str:
    if body is None:
        return ""
    text = body if isinstance(body, str) else msgspec.json.encode(body).decode()
    return text.rstrip("\r\n")


def _severity(record: Any) -> int:
    number = record.severity_number
    if isinstance(number, str):  # JSON may name it: SEVERITY_NUMBER_INFO2
        name, more = re.fullmatch(r"(?:SEVERITY_NUMBER_)?([A-Z]*)([234]?).*", number, re.S).groups()  # type: ignore[union-attr]
        number = _LEVELS.get(name, 0) + (int(more) - 1 if more else 0)
    if 1 <= number <= 24:
        return int(number)
    return _LEVELS.get(record.severity_text.strip().upper(), 0)


def _trace(trace_id: Any) -> str:
    text = trace_id.hex() if isinstance(trace_id, bytes) else trace_id.lower()
    return text if _HEX_ID.fullmatch(text) and text != _NO_TRACE else ""


def _kept(attributes: dict[str, Any]) -> str:
    """Attributes as JSON; of too many, as many as there is room for."""
    if not attributes:
        return ""
    text = storable(msgspec.json.encode(attributes).decode())
    if len(text) <= ATTRIBUTES_MOST:
        return text
    return storable(msgspec.json.encode(dict(_fitting(attributes))).decode())


def _fitting(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    room = ATTRIBUTES_MOST
    for name, value in attributes.items():
        room -= len(name) + len(msgspec.json.encode(value)) + 4
        if room < 0:
            yield "…", "more attributes, which had no room"
            return
        yield name, value
