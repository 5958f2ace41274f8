"""Calls of models over HTTP: a list with filters, one call, and what was kept of its content."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from litestar import Response, get
from litestar.types import ControllerRouterHandler
from sqlalchemy import Row

from serai.api.exchange import AnyRequest, json_response
from serai.api.pages import LIMIT_DEFAULT, join_page, page_of, parse_page_query
from serai.api.versions import RELEASES
from serai.identity.caller import Caller, caller_of
from serai.kernel.clock import millis, parse_rfc3339, rfc3339
from serai.kernel.cursors import CursorCodec
from serai.kernel.errors import BadRequest, Forbidden, NotFound
from serai.metering.prices import PriceList
from serai.metering.times import moment_of
from serai.resources.operations import labelled
from serai.store.database import Database
from serai.telemetry.costs import cost_of
from serai.telemetry.logs import RequestLogs
from serai.telemetry.records import Wanted, first_number, moment_ms, newest, page
from serai.wire.telemetry import (
    ModelRequest,
    ModelRequestError,
    ModelRequestLog,
    ModelRequestTokens,
)

PATH = "/v0/model-requests"
ALWAYS = min(RELEASES)
EXACT = {
    "model": "model",
    "provider": "provider",
    "apiKey": "credential",
    "subject": "subject",
    "operation": "operation",
    "error": "error",
    "cache": "cache",
}
"""Filters by an exact value: parameter to column."""
OTHERS = ("status", "startTime", "endTime", "minLatencyMs")
CLASSES = {"error": (400, 599)} | {f"{n}xx": (n * 100, n * 100 + 99) for n in range(1, 6)}

PricesOf = Callable[[str], Awaitable[PriceList]]


def request_operations(
    usage: Database, logs: RequestLogs, cursors: CursorCodec, prices_of: PricesOf
) -> list[ControllerRouterHandler]:
    """Operations of ours below ``/v0/model-requests``."""

    @get(
        PATH,
        **labelled(
            "ListModelRequests",
            page_of(ModelRequest),
            query=dict.fromkeys((*EXACT, *OTHERS), str),
            paged=ALWAYS,
        ),
    )
    async def list_model_requests(request: AnyRequest) -> Response[bytes]:
        """Calls of models, newest first"""
        caller, params = caller_of(request), request.query_params
        query, wanted = parse_page_query(_without_status(params), ()), parse_wanted(caller, params)
        scope = repr([wanted.workspace, "model-requests", msgspec.to_builtins(wanted)])
        before = int(cursors.decode(scope, query.cursor)[0]) if query.cursor else None
        size = query.limit or LIMIT_DEFAULT
        rows, total = await usage.read_in_thread(lambda c: page(c, wanted, before, size + 1))
        more, rows = len(rows) > size, rows[:size]
        prices = await prices_of(caller.principal.account_id)
        cursor = cursors.encode(scope, [str(rows[-1].number)]) if more else None
        items = [msgspec.json.encode(shown(row, prices)) for row in rows]
        return json_response(join_page(items, cursor, total))

    @get(f"{PATH}/{{request_id:str}}", **labelled("GetModelRequest", ModelRequest))
    async def get_model_request(request: AnyRequest, request_id: str) -> Response[bytes]:
        """The newest model call with this request id"""
        caller = caller_of(request)
        row = await _find(usage, caller, request_id)
        prices = await prices_of(caller.principal.account_id)
        return json_response(msgspec.json.encode(shown(row, prices)))

    @get(f"{PATH}/{{request_id:str}}/log", **labelled("GetModelRequestLog", ModelRequestLog))
    async def get_model_request_log(request: AnyRequest, request_id: str) -> Response[bytes]:
        """What was kept of a model call's content, for admins of the workspace"""
        caller = caller_of(request)
        if not caller.is_admin:
            raise Forbidden("What was kept of model calls needs the admin role in this workspace.")
        row = await _find(usage, caller, request_id)
        kept = await usage.read(lambda conn: logs.find(conn, caller.workspace, row.number))
        if kept is None:
            raise NotFound(
                "Nothing was kept of this call's content: spec.gateway.requestLog of its model was"
                " off, or its days are over."
            )
        shown_log = msgspec.structs.replace(kept, request_id=row.request_id)
        return json_response(msgspec.json.encode(shown_log))

    return [list_model_requests, get_model_request, get_model_request_log]


async def _find(usage: Database, caller: Caller, request_id: str) -> Row[Any]:
    wanted = Wanted(
        account_id=caller.principal.account_id,
        workspace=caller.workspace,
        exact={"request_id": request_id},
    )
    found = await usage.read(lambda conn: newest(conn, wanted))
    if found is None:
        raise NotFound(
            f"No model call with the request id {request_id[:80]!r} is kept in this workspace:"
            " a call shows about a second after it ended, and for the days of"
            " model_request_retention."
        )
    return found


def _without_status(params: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in params.items() if name != "status"}


def parse_wanted(caller: Caller, params: Mapping[str, str]) -> Wanted:
    """The filters of a list.

    Raises:
        BadRequest: naming the parameter and what it accepts.
    """
    exact = {column: params[name] for name, column in EXACT.items() if params.get(name)}
    start, end = (_moment(name, params.get(name)) for name in ("startTime", "endTime"))
    return Wanted(
        account_id=caller.principal.account_id,
        workspace=caller.workspace,
        exact=exact,
        statuses=_statuses(params.get("status")),
        first=None if start is None else first_number(millis(start)),
        last=None if end is None else first_number(millis(end)),
        slower_than=_latency(params.get("minLatencyMs")),
    )


def _statuses(text: str | None) -> tuple[int, int] | None:
    if not text:
        return None
    if text.lower() in CLASSES:
        return CLASSES[text.lower()]
    if text.isascii() and text.isdecimal() and 100 <= int(text[:4]) <= 599:
        return int(text), int(text)
    raise BadRequest(
        f"status {text[:20]!r} is no HTTP status (such as 429) and none of {', '.join(CLASSES)}."
    )


def _moment(name: str, text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        moment = parse_rfc3339(text)
        millis(moment)
    except (ValueError, OverflowError):
        raise BadRequest(
            f"{name} {text[:40]!r} is no RFC 3339 time, for example 2026-04-28T12:00:00Z."
        ) from None
    if not 1970 <= moment.year < 2200:
        raise BadRequest(f"{name} {text[:40]!r} is not between the years 1970 and 2199.")
    return moment


def _latency(text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise BadRequest(
            f"minLatencyMs {text[:20]!r} is not a whole number of milliseconds, 0 to 999999999."
        )
    return int(text) * 1000


def shown(row: Row[Any], prices: PriceList) -> ModelRequest:
    """A row as it is answered."""
    cost = cost_of(
        prices,
        provider=row.provider,
        model=row.stand_in or row.model,
        day=moment_of(moment_ms(row.number)).date(),
        status=row.status,
        tokens=(row.input_tokens, row.output_tokens) if row.counted else (0, 0),
    )
    return ModelRequest(
        request_id=row.request_id,
        time=rfc3339(moment_of(moment_ms(row.number))),
        workspace=row.workspace,
        model=row.model,
        stand_in=row.stand_in or None,
        provider=row.provider,
        provider_model=row.provider_model or None,
        answered_by=row.answered_by or None,
        operation=row.operation,
        status=row.status,
        error=ModelRequestError(code=row.error, origin=row.origin) if row.error else None,
        first_byte_ms=row.first_byte / 1000 if row.first_byte else None,
        duration_ms=row.duration / 1000,
        tokens=_tokens(row),
        attempts=row.attempts,
        cache=row.cache or None,
        streamed=row.streamed,
        credential_id=row.credential or None,
        subject=row.subject or None,
        labels=msgspec.json.decode(row.labels, type=dict[str, str]) or None,
        **_money(cost, prices),
    )


def _money(cost: str | None, prices: PriceList) -> dict[str, Any]:
    return {} if cost is None else {"cost": cost, "currency": prices.currency}


def _tokens(row: Row[Any]) -> ModelRequestTokens | None:
    if not (row.counted or row.estimated):
        return None
    return ModelRequestTokens(
        input=row.input_tokens,
        output=row.output_tokens,
        cached=row.cached_tokens or None,
        reasoning=row.reasoning_tokens or None,
        estimated=row.estimated,
    )
