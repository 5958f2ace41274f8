"""OTLP over HTTP, below our origin, where exporters send it by themselves."""

import asyncio
from collections.abc import Callable

from litestar import Response, post
from litestar.exceptions import InternalServerException
from litestar.types import ControllerRouterHandler

from serai.api.exchange import AnyRequest, current_origin
from serai.identity.caller import caller_of
from serai.kernel.errors import BadRequest
from serai.telemetry.lines import otlp
from serai.telemetry.lines.otlp_refused import refused_metrics, refused_traces
from serai.telemetry.lines.queue import LineQueue

PROTOBUF, JSON = "application/x-protobuf", "application/json"
AT_ONCE = 16 * 1024
"""Bytes of a body that is read on the spot; a larger one beside everything else."""
READERS = 2
ANSWER = {"answer": dict[str, object]}


Work = Callable[[bytes, bool], bytes]
"""Makes an answer of a body that is unpacked, and of whether it is JSON."""


def intake_operations(queue: LineQueue) -> list[ControllerRouterHandler]:
    """Logs of a workspace from whoever has a credential for it; and what comes with them."""
    readers = asyncio.Semaphore(READERS)

    async def answer(request: AnyRequest, work: Work) -> Response[bytes]:
        current_origin().audited = True  # a line of a log is no change of anything
        is_json = _is_json(request.headers.get("content-type", ""))
        encoding = request.headers.get("content-encoding", "").strip().lower()
        try:
            body = await request.body()
        except InternalServerException as problem:  # what Litestar makes of a client that left
            raise BadRequest("The request ended before its body did.") from problem

        def read() -> bytes:
            return work(otlp.unpacked(body, encoding), is_json)

        if len(body) <= AT_ONCE and not encoding:
            content = read()
        else:
            async with readers:
                content = await asyncio.to_thread(read)
        return Response(content, media_type=JSON if is_json else PROTOBUF, status_code=200)

    def keep(workspace: str) -> Work:
        def work(body: bytes, is_json: bool) -> bytes:
            found = otlp.taken(body, is_json, workspace)
            queue.put(found.entries)
            return otlp.answer_of(found, is_json)

        return work

    @post("/v1/logs", status_code=200, operation_id="CreateLogs", opt=ANSWER)
    async def create_logs(request: AnyRequest) -> Response[bytes]:
        """Logs of workloads in OTLP, protobuf or JSON"""
        return await answer(request, keep(caller_of(request).workspace))

    @post("/v1/traces", status_code=200, operation_id="CreateTraces", opt=ANSWER)
    async def create_traces(request: AnyRequest) -> Response[bytes]:
        """None of these is taken, and the answer says so"""
        return await answer(request, refused_traces)

    @post("/v1/metrics", status_code=200, operation_id="CreateMetrics", opt=ANSWER)
    async def create_metrics(request: AnyRequest) -> Response[bytes]:
        """None of these is taken, and the answer says so"""
        return await answer(request, refused_metrics)

    return [create_logs, create_traces, create_metrics]


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in {PROTOBUF, JSON}:
        raise BadRequest(f"Content-Type {kind[:60]!r} is not {PROTOBUF} or {JSON}.")
    return kind == JSON
