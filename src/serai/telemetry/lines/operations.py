"""Logs over HTTP: what clients of the contract read, and our own stream of them."""

import msgspec
from litestar import Response, get
from litestar.response import Stream
from litestar.types import ControllerRouterHandler

from serai.api.exchange import AnyRequest, json_response
from serai.identity.caller import authenticate, bearer_tokens, caller_of
from serai.identity.principal import Authenticator
from serai.kernel.errors import SeraiError
from serai.resources.operations import labelled
from serai.telemetry.lines.asking import EXACT, OTHERS, parse
from serai.telemetry.lines.following import Following, MayRead
from serai.telemetry.lines.reading import LineReader, Place
from serai.wire.telemetry import WorkloadLogs

PATH = "/v0/observability/logs"
OPERATION = "ListLogs"
EVENTS = "text/event-stream"
JSON_LINES = "application/x-ndjson"
NEEDED = frozenset({"logs:get"})


def line_operations(
    reader: LineReader, authenticator: Authenticator
) -> list[ControllerRouterHandler]:
    """``GET /v0/observability/logs``."""
    following = Following(reader)

    def may_read(request: AnyRequest, place: Place) -> MayRead:
        tokens = bearer_tokens(request.scope["headers"])

        async def ask() -> bool:
            try:
                principal = await authenticate(authenticator, tokens)
            except SeraiError:
                return False
            return place.workspace in principal.workspaces and not principal.lacks(NEEDED)

        return ask

    @get(
        PATH,
        **labelled(
            OPERATION,
            dict[str, WorkloadLogs],
            query=dict.fromkeys(EXACT, str) | OTHERS,
            errors=(429,),
        ),
    )
    async def list_logs(request: AnyRequest) -> Response[bytes] | Stream:
        """Lines of logs by the name of their resource, newest first"""
        caller = caller_of(request)
        place = Place(caller.principal.account_id, caller.workspace)
        asked = parse(request)
        if not asked.follow:
            return json_response(msgspec.json.encode(await reader.answer(place, asked)))
        wants_events = EVENTS in request.headers.get("accept", "")
        lines = following.begin(place, asked, may_read(request, place), events=wants_events)
        return Stream(
            lines,
            media_type=EVENTS if wants_events else JSON_LINES,
            headers={"cache-control": "no-store"},
        )

    return [list_logs]
