"""``GET /v0/changes``: what changes in a workspace, as it happens; an extension of ours."""

from typing import Any

from litestar import Response, get
from litestar.response import Stream
from litestar.types import ControllerRouterHandler

from serai.api.exchange import AnyRequest
from serai.identity.caller import caller_of
from serai.kernel.errors import BadRequest, ServiceUnavailable
from serai.resources.changes import MOST_LISTENERS, ChangeStream

EVENTS = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def change_operations(stream: ChangeStream) -> list[ControllerRouterHandler]:
    """The one operation."""

    @get(
        "/v0/changes",
        operation_id="StreamChanges",
        opt={"answer": str, "media": EVENTS, "errors": (503,)},
    )
    async def stream_changes(request: AnyRequest) -> Response[Any]:
        """What changes in the workspace, as it happens"""
        if EVENTS not in request.headers.get("accept", ""):
            raise BadRequest(f"This answer has no end: ask for it with 'Accept: {EVENTS}'.")
        if stream.is_full:
            raise ServiceUnavailable(
                f"{MOST_LISTENERS} clients listen to changes already; try again later."
            )
        events = stream.events(caller_of(request).workspace)
        return Stream(events, media_type=EVENTS, headers=HEADERS)

    return [stream_changes]
