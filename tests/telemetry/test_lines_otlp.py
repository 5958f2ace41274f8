"""Logs of OpenTelemetry exporters: protobuf and JSON, compressed, and whatever else may come."""

import gzip
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from platform_server import KEY, Server
from serai.api.scopes import scopes_of
from serai.kernel.errors import BadRequest, PayloadTooLarge
from serai.telemetry.lines import otlp
from serai.telemetry.lines.otlp_size import PARTS_MOST

from .calls import until

TRACE = "5b8efff798038103d269b633813fc60c"
PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}
AT = 1_790_000_000_123_456_789


def text(value: str) -> dict[str, Any]:
    return {"stringValue": value}


def pairs(**values: Any) -> list[dict[str, Any]]:
    return [{"key": name.replace("__", "."), "value": value} for name, value in values.items()]


def request(*records: dict[str, Any], **about: str) -> dict[str, Any]:
    """The JSON form of a request about a resource."""
    given = {"workload__type": "agents", "workload__id": "a"} | about
    resource = {"attributes": pairs(**{name: text(value) for name, value in given.items()})}
    return {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [*records]}]}]}


def protobuf(sent: dict[str, Any]) -> bytes:
    """The same in protobuf, as an exporter makes it: ids are bytes there."""
    made = ExportLogsServiceRequest()
    for each in sent["resourceLogs"]:
        target = made.resource_logs.add()
        for pair in each["resource"]["attributes"]:
            target.resource.attributes.add(key=pair["key"]).value.string_value = pair["value"][
                "stringValue"
            ]
        scope = target.scope_logs.add()
        for record in each["scopeLogs"][0]["logRecords"]:
            added = scope.log_records.add()
            added.time_unix_nano = int(record.get("timeUnixNano", 0))
            added.severity_number = record.get("severityNumber", 0)
            added.severity_text = record.get("severityText", "")
            added.trace_id = bytes.fromhex(record.get("traceId", ""))
            if "body" in record:
                fill(added.body, record["body"])
            for pair in record.get("attributes", []):
                fill(added.attributes.add(key=pair["key"]).value, pair["value"])
    encoded: bytes = made.SerializeToString()
    return encoded


def fill(target: Any, value: dict[str, Any]) -> None:
    [(name, content)] = value.items()
    if name == "kvlistValue":
        target.kvlist_value.SetInParent()
        for pair in content["values"]:
            fill(target.kvlist_value.values.add(key=pair["key"]).value, pair["value"])
    elif name == "arrayValue":
        target.array_value.SetInParent()
        for each in content["values"]:
            fill(target.array_value.values.add(), each)
    elif name == "intValue":
        target.int_value = int(content)
    else:
        snake = {"stringValue": "string_value", "boolValue": "bool_value"}[name]
        setattr(target, snake, content)


RECORD = {
    "timeUnixNano": str(AT),
    "severityNumber": 17,
    "body": text("it broke\n"),
    "traceId": TRACE,
    "attributes": pairs(
        code=text("E1"),
        times={"intValue": "5"},
        fatal={"boolValue": True},
        list={"arrayValue": {"values": [text("x"), {"intValue": "1"}]}},
        exception__stacktrace=text("Traceback:\n  line 1"),
    ),
}
ABOUT = {"service__instance__id": "i1", "revision__id": "r1", "execution__id": "e1"}


@pytest.mark.parametrize("is_json", [True, False])
def test_a_record_becomes_a_line(is_json: bool) -> None:
    sent = request(RECORD, **ABOUT)
    body = json.dumps(sent).encode() if is_json else protobuf(sent)
    [entry] = otlp.taken(body, is_json, "w").entries
    assert entry.key == ("w", "agent", "a")
    assert entry.origin == ("run", "otlp", "r1", "i1", "e1", "", "")
    assert (entry.at_ns, entry.severity, entry.trace_id) == (AT, 17, TRACE)
    assert entry.text == "it broke\nTraceback:\n  line 1"
    kept = {"code": "E1", "times": 5, "fatal": True, "list": ["x", 1]}
    assert json.loads(entry.attributes) == kept


@pytest.mark.parametrize(
    ("record", "severity"),
    [
        ({"severityNumber": 9}, 9),
        ({"severityNumber": "SEVERITY_NUMBER_WARN2"}, 14),
        ({"severityNumber": "SEVERITY_NUMBER_UNSPECIFIED"}, 0),
        ({"severityText": "warning"}, 13),
        ({"severityText": "CRITICAL"}, 21),
        ({"severityText": "loud", "severityNumber": 99}, 0),
        ({"severityNumber": -1}, 0),
        ({}, 0),
    ],
)
def test_severities(record: dict[str, Any], severity: int) -> None:
    body = json.dumps(request(record)).encode()
    [entry] = otlp.taken(body, True, "w").entries
    assert entry.severity == severity


def test_what_is_odd_is_taken_as_it_can_be() -> None:
    now = time.time_ns()
    odd = [
        {"body": {"kvlistValue": {"values": pairs(a=text("b"))}}},
        {"timeUnixNano": str(now + 10**15), "body": text("of tomorrow")},
        {"observedTimeUnixNano": AT, "body": text("observed")},
        {"traceId": "0" * 32, "body": text("no trace")},
        {"traceId": "zz", "body": {"doubleValue": 1.5}},
        {"attributes": pairs(**{f"k{n}": text("v" * 1000) for n in range(20)})},
        {"body": text("x" * 3_000_000)},
    ]
    found = otlp.taken(json.dumps(request(*odd, workload__type="jobs")).encode(), True, "w").entries
    assert [each.text for each in found[:5]] == ['{"a":"b"}', "of tomorrow", "observed", "no trace",
                                                 "1.5"]  # fmt: skip
    assert now <= found[1].at_ns < now + 60 * 10**9
    assert found[2].at_ns == AT
    assert [each.trace_id for each in found] == [""] * 7
    assert found[0].origin[0] == "task"
    assert len(found[5].attributes) < 9000
    assert "had no room" in found[5].attributes
    assert (len(found[6].text) < 40_000, found[6].length) == (True, 3_000_000)


@pytest.mark.parametrize(
    "about",
    [{"workload__type": "models"}, {"workload__type": ""}, {"workload__id": "x\n"},
     {"workload__id": "", "service__name": ""}, {"workload__id": "x" * 300}],
)  # fmt: skip
def test_lines_of_nobody_are_rejected(about: dict[str, str]) -> None:
    sent = request({"body": text("a")}, {"body": text("b")}, **about)
    sent["resourceLogs"] += request({"body": text("good")})["resourceLogs"]
    found = otlp.taken(json.dumps(sent).encode(), True, "w")
    assert ([each.text for each in found.entries], found.rejected) == (["good"], 2)
    assert "workload.id" in found.reason
    assert json.loads(otlp.answer_of(found, True))["partialSuccess"]["rejectedLogRecords"] == "2"
    answer = ExportLogsServiceResponse.FromString(otlp.answer_of(found, False))
    assert answer.partial_success.rejected_log_records == 2


def test_a_few_bytes_that_stand_for_much_are_refused() -> None:
    with pytest.raises(PayloadTooLarge):
        otlp.unpacked(gzip.compress(b"\0" * (otlp.BODY_MOST + 1)), "gzip")
    many = b"\x12\x00" * (PARTS_MOST + 1)  # empty records
    scope = b"\x12" + varint(len(many)) + many
    with pytest.raises(PayloadTooLarge):
        otlp.taken(b"\x0a" + varint(len(scope)) + scope, False, "w")
    with pytest.raises(PayloadTooLarge):
        otlp.taken(b'{"x":[' + b"{}," * PARTS_MOST + b"{}]}", True, "w")


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


def test_a_large_request_is_taken() -> None:
    records = [{"timeUnixNano": str(AT + n), "body": text(f"line {n} " * 10)} for n in range(9000)]
    body = protobuf(request(*records))
    assert len(body) > 256 * 1024
    found = otlp.taken(otlp.unpacked(gzip.compress(body), "gzip"), False, "w")
    assert [each.at_ns - AT for each in found.entries] == list(range(9000))


@given(st.binary(max_size=200), st.booleans())
def test_noise_is_refused_or_read(body: bytes, is_json: bool) -> None:
    with suppress(BadRequest):
        assert otlp.taken(body, is_json, "w").entries is not None


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["resourceLogs", "scopeLogs", "logRecords", "resource",
                                         "attributes", "body", "stringValue", "intValue", "value",
                                         "key", "values", "severityNumber", "timeUnixNano"]),
                        inner, max_size=3), max_leaves=15))  # fmt: skip
def test_json_of_any_shape_is_refused_or_read(sent: Any) -> None:
    with suppress(BadRequest):
        assert otlp.taken(json.dumps(sent).encode(), True, "w").entries is not None


@pytest.fixture
def send(api: httpx.Client) -> Callable[..., httpx.Response]:
    def send(content: bytes, **headers: str) -> httpx.Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return api.post("/v1/logs", content=content, headers=PROTOBUF | given)

    return send


def stored(api: httpx.Client, name: str, **params: Any) -> list[dict[str, Any]]:
    query = {"resourceType": "agents", "workloadIds": name, "start": "2026-01-01"} | params
    answer = api.get("/v0/observability/logs", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()[name]["logs"]
    return found


def test_lines_arrive(api: httpx.Client, send: Callable[..., httpx.Response]) -> None:
    about = {"workload__id": "arrives"}
    answer = send(protobuf(request(RECORD, **about)))
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "application/x-protobuf"
    packed = gzip.compress(protobuf(request({"body": text("packed")}, **about)))
    assert send(packed, Content_Encoding="gzip").status_code == 200
    sent = request({"body": text("as JSON")}, **about)
    answer = api.post("/v1/logs", json=sent, headers={"Content-Type": "application/json; a=b"})
    assert (answer.status_code, answer.json()) == (200, {})
    found = until(lambda: len(every := stored(api, "arrives")) == 3 and every)
    assert [each["message"] for each in found[:2]] == ["as JSON", "packed"]
    broke = next(each for each in found if each["severity"] == 17)
    assert (broke["trace_id"], broke["attributes"]["times"]) == (TRACE, 5)
    assert stored(api, "arrives", traceId=TRACE) == [broke]
    answer = api.get("/v0/observability/logs", params={"resourceType": "agents", "traceId": TRACE,
                                                       "start": "2026-01-01"})  # fmt: skip
    assert answer.json() == {"arrives": {"logs": [broke], "totalCount": 1}}


@pytest.mark.parametrize(
    ("content", "headers", "status", "said"),
    [
        (b"\xff\xff", {}, 400, "protobuf"),
        (b"{", JSON, 400, "JSON"),
        (b"[]", JSON, 400, "JSON"),
        (b'{"resourceLogs": 1}', JSON, 400, "resourceLogs"),
        (b"{}", {"Content-Type": "text/plain"}, 400, "Content-Type"),
        (b"no", {"Content-Encoding": "gzip"}, 400, "gzip"),
        (gzip.compress(b"x" * 1000)[:-9], {"Content-Encoding": "gzip"}, 400, "too early"),
        (b"x", {"Content-Encoding": "br"}, 400, "Content-Encoding"),
        (gzip.compress(b"\0" * 17_000_000), {"Content-Encoding": "gzip"}, 413, "bytes"),
        (b"x" * 11_000_000, {}, 413, ""),
    ],
)
def test_bad_input_is_named(
    send: Callable[..., httpx.Response],
    content: bytes,
    headers: dict[str, str],
    status: int,
    said: str,
) -> None:
    given = {name.replace("-", "_"): value for name, value in headers.items()}
    answer = send(content, **given)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["message"]


@pytest.fixture
def machine(server: Server, api: httpx.Client) -> Iterator[Callable[..., httpx.Client]]:
    """Clients of a service account whose keys have some scopes."""
    made = api.post("/v0/service_accounts", json={"name": "sender", "role": "member"}).json()
    path = f"/v0/service_accounts/{made['client_id']}/api_keys"
    clients = []

    def client(*scopes: str) -> httpx.Client:
        body = {"name": "k"} | ({"scopes": [*scopes]} if scopes else {})
        answer = api.post(path, json=body)
        assert answer.is_success, answer.text
        clients.append(server.client_for(answer.json()["apiKey"]))
        return clients[-1]

    yield client
    for each in clients:
        each.close()
    api.delete(f"/v0/service_accounts/{made['client_id']}")


def sent_spans(count: int) -> bytes:
    made = ExportTraceServiceRequest()
    scope = made.resource_spans.add().scope_spans.add()
    for _ in range(count):
        scope.spans.add(trace_id=bytes.fromhex(TRACE), name="x")
    return bytes(made.SerializeToString())


def test_traces_and_metrics_are_counted_and_not_taken(api: httpx.Client) -> None:
    answer = api.post("/v1/traces", content=sent_spans(3), headers=PROTOBUF)
    assert answer.status_code == 200
    said = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert (said.rejected_spans, "not their traces" in said.error_message) == (3, True)
    point = {"asInt": "1", "timeUnixNano": "1"}
    metric = {"name": "m", "sum": {"dataPoints": [point, point]}}
    sent = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric, {"name": "none"}]}]}]}
    answer = api.post("/v1/metrics", json=sent)
    assert answer.json()["partialSuccess"]["rejectedDataPoints"] == "2"
    for path in ("/v1/traces", "/v1/metrics"):
        assert api.post(path, content=b"\xff", headers=PROTOBUF).status_code == 400
        assert api.post(path, content=b"[", headers=JSON).status_code == 400
        assert httpx.post(f"{api.base_url}{path}", trust_env=False).status_code == 401
    large = gzip.compress(sent_spans(30_000))
    packed = PROTOBUF | {"Content-Encoding": "gzip"}
    assert api.post("/v1/traces", content=large, headers=packed).status_code == 200


def test_a_credential_is_needed(server: Server, machine: Callable[..., httpx.Client]) -> None:
    body, url = protobuf(request(RECORD)), f"{server.url}/v1/logs"
    for path in (url, f"{url}/", url.replace("/v1/", "//v1/")):
        answer = httpx.post(path, content=body, headers=PROTOBUF, trust_env=False)
        assert answer.status_code in (401, 404), path
    assert machine().post("/v1/logs", content=body, headers=PROTOBUF).status_code == 200
    elsewhere = PROTOBUF | {"X-Blaxel-Workspace": "elsewhere"}
    assert machine().post("/v1/logs", content=body, headers=elsewhere).status_code == 403
    assert scopes_of("CreateLogs") == {"logs:create"}
    assert scopes_of("ListLogs") == {"logs:get"}
    assert KEY not in str(body)
