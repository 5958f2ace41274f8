"""Schedules and their executions over HTTP, of one sandbox and of a whole workspace."""

from datetime import timedelta
from typing import Any, Literal

import msgspec
from litestar import Response, delete, get, post, put
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, decode_body, flag, json_response
from serai.api.pages import PageQuery, join_array, join_page, parse_page_query
from serai.api.versions import PAGES_SINCE, at_least
from serai.compute import schedule_records as records
from serai.compute.kind import SANDBOXES, moment_of
from serai.compute.schedule_records import ExecutionRow, Span
from serai.compute.schedules import ScheduleService, minute_of
from serai.identity.caller import caller_of
from serai.kernel.clock import now, rfc3339
from serai.kernel.cursors import CursorCodec
from serai.kernel.errors import BadRequest, Forbidden
from serai.resources import documents
from serai.resources.operations import ResourceContext
from serai.wire.sandboxes import (
    ExecutionCounts,
    ScheduleEntry,
    ScheduleEntryPage,
    ScheduleExecution,
    ScheduleExecutionPage,
    ScheduleMetrics,
)

LIST = "/v0/sandboxes/{parent:str}/schedules"
ONE = LIST + "/{schedule_id:str}"
LIMIT_DEFAULT = 20
LIMIT_MAX = 100
WINDOW = timedelta(hours=24)
TYPES = frozenset({"cron", "at"})
STATUSES = frozenset({"succeeded", "failed"})
COLUMNS = {"created_at": "created_at", "name": "id"}


def schedule_operations(
    context: ResourceContext, service: ScheduleService
) -> list[ControllerRouterHandler]:
    """Every operation on schedules."""
    lists = Lists(service, context.cursors)
    return [
        *_sandbox_lists(lists),
        *_workspace_lists(lists),
        *_single(service),
        _metrics(service),
    ]


class Lists:
    """Pages of schedules and of executions."""

    def __init__(self, service: ScheduleService, cursors: CursorCodec) -> None:
        self.service = service
        self.cursors = cursors

    async def schedules(self, request: AnyRequest, sandbox: str | None, *, paged: bool) -> bytes:
        """Schedules of a sandbox, or of all that the query names."""
        params, workspace = request.query_params, caller_of(request).workspace
        query, size = _query(params)
        kind = params.get("type")
        place = sandbox if sandbox is not None else params.get("sandbox")
        within = records.conditions(
            workspace, sandbox=place, type=kind if kind in TYPES else None, q=query.q
        )
        scope = query.fingerprint(f"{workspace}/schedules/{place}/{kind}")

        def read(conn: Connection) -> bytes:
            if sandbox is not None:
                self.service.need_sandbox(conn, workspace, sandbox)
            span = Span(
                column=COLUMNS[query.column],
                descending=query.descending,
                after=self._position(scope, query) if paged else None,
                size=size if paged else records.count(conn, workspace, sandbox),
            )
            rows, last, total = records.page(conn, within, span)
            return self._answer([row.body.encode() for row in rows], scope, last, total, paged)

        return await self.service.db.read(read)

    async def executions(self, request: AnyRequest, sandbox: str | None, *, paged: bool) -> bytes:
        """Finished executions, the newest first unless the query says otherwise."""
        params, workspace = request.query_params, caller_of(request).workspace
        query, size = _query(params)
        place = sandbox if sandbox is not None else params.get("sandbox")
        wanted = _execution_filters(params) if sandbox is None else {}
        within = records.run_conditions(workspace, sandbox=place, q=query.q, **wanted)
        scope = query.fingerprint(f"{workspace}/executions/{place}/{sorted(wanted.items())}")

        def read(conn: Connection) -> bytes:
            if sandbox is not None:
                self.service.need_sandbox(conn, workspace, sandbox)
            span = Span(
                column="seq",
                descending=query.descending,
                after=self._position(scope, query) if paged else None,
                size=size if paged else LIMIT_MAX,
            )
            rows, last, total = records.run_page(conn, within, span)
            items = [msgspec.json.encode(_shown(row)) for row in rows]
            return self._answer(items, scope, last, total, paged)

        return await self.service.db.read(read)

    def _position(self, scope: str, query: PageQuery) -> list[str] | None:
        return self.cursors.decode(scope, query.cursor) if query.cursor else None

    def _answer(
        self, items: list[bytes], scope: str, last: list[str], total: int, paged: bool
    ) -> bytes:
        if not paged:
            return join_array(items)
        return join_page(items, self.cursors.encode(scope, last) if last else None, total)


def _query(params: Any) -> tuple[PageQuery, int]:
    given = {key: value for key, value in params.items() if key != "status"}
    query = parse_page_query(given, ())
    size = query.limit or LIMIT_DEFAULT
    if size > LIMIT_MAX:
        raise BadRequest(f"limit {size} is not a whole number from 1 to {LIMIT_MAX}.")
    return query, size


ScheduleType = Literal["at", "cron"]
RUN_FILTERS = dict.fromkeys(("sandbox", "schedule", "since", "until"), str)


def _execution_filters(params: Any) -> dict[str, str | None]:
    status = (params.get("status") or "").lower() or None
    if status is not None and status not in STATUSES:
        raise BadRequest(f"status {status[:40]!r} is not one of succeeded, failed.")
    times = {
        name: rfc3339(moment_of(params[name], name)) if params.get(name) else None
        for name in ("since", "until")
    }
    return {"status": status, "schedule": params.get("schedule") or None} | times


def _paged(request: AnyRequest) -> bool:
    return at_least(request.state["version"], PAGES_SINCE)


def _shown(row: ExecutionRow) -> ScheduleExecution:
    return ScheduleExecution(
        id=f"{row.seq:020d}",
        schedule_id=row.schedule_id,
        sandbox=row.sandbox,
        status="succeeded" if row.status == "succeeded" else "failed",
        status_code=row.status_code or 0,
        process_name=row.process_name,
        timeout=row.timeout,
        executed_at=row.executed_at or row.created_at,
        created_at=row.created_at,
        error=row.error,
    )


def _sandbox_lists(lists: Lists) -> list[ControllerRouterHandler]:
    @get(
        LIST,
        operation_id="ListSandboxSchedules",
        opt={"body": None, "answer": ScheduleEntryPage, "query": {"type": ScheduleType}},
    )
    async def list_sandbox_schedules(request: AnyRequest, parent: str) -> Response[bytes]:
        return json_response(await lists.schedules(request, parent, paged=_paged(request)))

    @get(
        "/v0/sandboxes/{parent:str}/schedule-executions",
        operation_id="ListSandboxScheduleExecutions",
        opt={"body": None, "answer": ScheduleExecutionPage},
    )
    async def list_sandbox_executions(request: AnyRequest, parent: str) -> Response[bytes]:
        return json_response(await lists.executions(request, parent, paged=_paged(request)))

    return [list_sandbox_schedules, list_sandbox_executions]


def _workspace_lists(lists: Lists) -> list[ControllerRouterHandler]:
    @get(
        "/v0/schedules",
        operation_id="ListSchedules",
        opt={
            "body": None,
            "answer": ScheduleEntryPage,
            "query": {"sandbox": str, "type": ScheduleType},
            "paged": "2026-04-16",
        },
    )
    async def list_schedules(request: AnyRequest) -> Response[bytes]:
        return json_response(await lists.schedules(request, None, paged=True))

    @get(
        "/v0/schedule-executions",
        operation_id="ListScheduleExecutions",
        opt={
            "body": None,
            "answer": ScheduleExecutionPage,
            "query": RUN_FILTERS,
            "paged": "2026-04-16",
        },
    )
    async def list_executions(request: AnyRequest) -> Response[bytes]:
        return json_response(await lists.executions(request, None, paged=True))

    return [list_schedules, list_executions]


def _single(service: ScheduleService) -> list[ControllerRouterHandler]:
    @post(
        LIST,
        status_code=200,
        operation_id="CreateSandboxSchedule",
        opt={"body": ScheduleEntry, "answer": ScheduleEntry},
    )
    async def create_schedule(request: AnyRequest, parent: str) -> Response[bytes]:
        shape = await decode_body(request, ScheduleEntry)
        return json_response(await service.create(caller_of(request).workspace, parent, shape))

    @get(
        ONE,
        operation_id="GetSandboxSchedule",
        opt={"body": None, "answer": ScheduleEntry},
    )
    async def get_schedule(request: AnyRequest, parent: str, schedule_id: str) -> Response[bytes]:
        caller, reveal = caller_of(request), flag(request, "show_secrets")
        if reveal and not caller.is_admin:
            raise Forbidden("show_secrets needs the admin role in this workspace.")
        found = await service.get(caller.workspace, parent, schedule_id, reveal=reveal)
        return json_response(found)

    @put(
        ONE,
        operation_id="UpdateSandboxSchedule",
        opt={"body": ScheduleEntry, "answer": ScheduleEntry},
    )
    async def replace_schedule(
        request: AnyRequest, parent: str, schedule_id: str
    ) -> Response[bytes]:
        shape = await decode_body(request, ScheduleEntry)
        workspace = caller_of(request).workspace
        return json_response(await service.replace(workspace, parent, schedule_id, shape))

    @delete(
        ONE,
        status_code=200,
        operation_id="DeleteSandboxSchedule",
        opt={"body": None, "answer": ScheduleEntry},
    )
    async def delete_schedule(
        request: AnyRequest, parent: str, schedule_id: str
    ) -> Response[bytes]:
        workspace = caller_of(request).workspace
        return json_response(await service.delete(workspace, parent, schedule_id))

    return [create_schedule, get_schedule, replace_schedule, delete_schedule]


def _metrics(service: ScheduleService) -> ControllerRouterHandler:
    @get(
        "/v0/schedules/metrics",
        operation_id="GetSandboxScheduleMetrics",
        opt={"body": None, "answer": ScheduleMetrics, "query": {"since": str, "until": str}},
    )
    async def schedule_metrics(request: AnyRequest) -> Response[bytes]:
        params, workspace = request.query_params, caller_of(request).workspace
        until = moment_of(params["until"], "until") if params.get("until") else now()
        until = minute_of(until, up=True)
        since = moment_of(params["since"], "since") if params.get("since") else until - WINDOW
        since = minute_of(since)
        if since >= until:
            raise BadRequest("since is not before until.")
        window = {"since": rfc3339(since), "until": rfc3339(until)}

        def read(conn: Connection) -> ScheduleMetrics:
            counts = records.run_counts(conn, records.run_conditions(workspace, **window))
            living = documents.every(conn, SANDBOXES.name, workspace)
            return ScheduleMetrics(
                executions=sum(counts.values()),
                executions_by_status=ExecutionCounts(
                    succeeded=counts.get("succeeded", 0), failed=counts.get("failed", 0)
                ),
                sandboxes=sum(1 for document in living if document.status == "DEPLOYED"),
                schedules=records.count(conn, workspace),
                since=window["since"],
                until=window["until"],
            )

        return json_response(msgspec.json.encode(await service.db.read(read)))

    return schedule_metrics
