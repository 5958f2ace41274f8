"""``POST /v1/logs``: OTLP over HTTP, below our origin, where exporters send it by themselves."""

import asyncio

from litestar import Response, post
from litestar.exceptions import InternalServerException
from litestar.types import ControllerRouterHandler

from serai.api.exchange import AnyRequest, current_origin
from serai.identity.caller import caller_of
from serai.kernel.errors import BadRequest
from serai.telemetry.lines import otlp
from serai.telemetry.lines.otlp import Taken
from serai.telemetry.lines.queue import LineQueue

PATH = "/v1/logs"
PROTOBUF, JSON = "application/x-protobuf", "application/json"
AT_ONCE = 16 * 1024
"""Bytes of a body that is read on the spot; a larger one beside everything else."""
READERS = 2


def intake_operations(queue: LineQueue) -> list[ControllerRouterHandler]:
    """The one operation: lines of a workspace, from whoever has a credential for it."""
    readers = asyncio.Semaphore(READERS)

    async def read(body: bytes, encoding: str, is_json: bool, workspace: str) -> Taken:
        def work() -> Taken:
            return otlp.taken(otlp.unpacked(body, encoding), is_json, workspace)

        if len(body) <= AT_ONCE and not encoding:
            return work()
        async with readers:
            return await asyncio.to_thread(work)

    @post(
        PATH,
        status_code=200,
        operation_id="CreateLogs",
        opt={"answer": dict[str, object]},
    )
    async def create_logs(request: AnyRequest) -> Response[bytes]:
        """Logs of workloads in OTLP, protobuf or JSON"""
        workspace = caller_of(request).workspace
        current_origin().audited = True  # a line of a log is no change of anything
        is_json = _is_json(request.headers.get("content-type", ""))
        encoding = request.headers.get("content-encoding", "").strip().lower()
        try:
            body = await request.body()
        except InternalServerException as problem:  # what Litestar makes of a client that left
            raise BadRequest("The request ended before its body did.") from problem
        found = await read(body, encoding, is_json, workspace)
        queue.put(found.entries)
        answer = otlp.answer_of(found, is_json)
        return Response(answer, media_type=JSON if is_json else PROTOBUF, status_code=200)

    return [create_logs]


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in {PROTOBUF, JSON}:
        raise BadRequest(f"Content-Type {kind[:60]!r} is not {PROTOBUF} or {JSON}.")
    return kind == JSON
