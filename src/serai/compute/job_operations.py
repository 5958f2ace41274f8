"""Jobs, applications and job executions over HTTP."""

from collections.abc import Callable
from typing import Any

import msgspec
from litestar import Response, delete, get, post
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, decode_body, json_response
from serai.api.pages import LIMIT_DEFAULT, PageQuery, join_array, join_page, parse_page_query
from serai.api.versions import PAGES_SINCE, at_least
from serai.compute import execution_records as records
from serai.compute import task_records
from serai.compute.applications import APPLICATIONS
from serai.compute.execution_records import ExecutionRow, Position
from serai.compute.execution_views import created, task_view, view
from serai.compute.executions import Executions, cancel_all
from serai.compute.jobs import JOBS
from serai.compute.task_records import TaskRow
from serai.identity.caller import caller_of
from serai.kernel.clock import now, rfc3339
from serai.kernel.cursors import CursorCodec
from serai.kernel.errors import BadRequest, NotFound
from serai.resources.documents import Document
from serai.resources.operations import ResourceContext, actor_of, read_operations, write_operations
from serai.wire.jobs import (
    CreatedJobExecution,
    Job,
    JobExecution,
    JobExecutionList,
    JobExecutionRequest,
    JobExecutionTaskList,
)

LIMIT_EXECUTIONS = 20
LIMIT_EXECUTIONS_MAX = 100
OFFSET_MAX = 1_000_000_000


def job_operations(
    context: ResourceContext, executions: Executions, news: Callable[[], None]
) -> list[ControllerRouterHandler]:
    """Every operation on jobs, their executions and applications.

    ``news`` is called after executions were made or cancelled.
    """
    generic = [h for h in write_operations(context, JOBS) if "DELETE" not in _methods(h)]
    return [
        *read_operations(context, JOBS),
        *generic,
        _delete_job(context, news),
        *read_operations(context, APPLICATIONS),
        *write_operations(context, APPLICATIONS),
        *_execution_lists(context, executions),
        *_execution_writes(context, executions, news),
    ]


def _methods(handler: Any) -> set[str]:
    return {str(method) for method in handler.http_methods}


def _delete_job(context: ResourceContext, news: Callable[[], None]) -> ControllerRouterHandler:
    @delete("/v0/jobs/{name:str}", status_code=200, operation_id="DeleteJob", opt={"answer": Job})
    async def delete_job(request: AnyRequest, name: str) -> Response[bytes]:
        actor = actor_of(caller_of(request))

        def write(conn: Connection) -> Document:
            document = context.store.need(conn, JOBS, actor.workspace, name)
            cancel_all(conn, actor.workspace, name, rfc3339(now()))
            context.store.delete(conn, actor, document)
            return document

        document = await context.db.write(write)
        context.on_change(JOBS.name, document, True)
        news()
        return json_response(document.body.encode())

    return delete_job


def _execution_lists(
    context: ResourceContext, executions: Executions
) -> list[ControllerRouterHandler]:
    base = "/v0/jobs/{job:str}/executions"

    @get(
        base,
        operation_id="ListJobExecutions",
        opt={"answer": JobExecutionList, "query": {"offset": int}},
    )
    async def list_job_executions(request: AnyRequest, job: str) -> Response[bytes]:
        workspace = caller_of(request).workspace

        def read(conn: Connection) -> bytes:
            context.store.need(conn, JOBS, workspace, job)
            return answer_executions(conn, context.cursors, workspace, job, request)

        return json_response(await context.db.read(read))

    @get(base + "/{execution:str}", operation_id="GetJobExecution", opt={"answer": JobExecution})
    async def get_job_execution(request: AnyRequest, job: str, execution: str) -> Response[bytes]:
        workspace = caller_of(request).workspace

        def read(conn: Connection) -> bytes:
            return _whole(conn, executions.need(conn, workspace, job, execution))

        return json_response(await context.db.read(read))

    @get(
        base + "/{execution:str}/tasks",
        operation_id="ListJobExecutionTasks",
        opt={"answer": JobExecutionTaskList},
    )
    async def list_tasks(request: AnyRequest, job: str, execution: str) -> Response[bytes]:
        workspace = caller_of(request).workspace
        if not at_least(request.state["version"], PAGES_SINCE):
            raise NotFound(
                f"The tasks of an execution are listed from API version {PAGES_SINCE} on: send "
                f"'Blaxel-Version: {PAGES_SINCE}' or a newer one."
            )

        def read(conn: Connection) -> bytes:
            row = executions.need(conn, workspace, job, execution)
            tasks = task_records.every(conn, row)
            return answer_tasks(context.cursors, row, tasks, request.query_params)

        return json_response(await context.db.read(read))

    return [list_job_executions, get_job_execution, list_tasks]


def _whole(conn: Connection, row: ExecutionRow) -> bytes:
    """An execution with its tasks."""
    tasks = task_records.every(conn, row)
    return msgspec.json.encode(view(row, task_records.count(conn, row), tasks))


def _execution_writes(
    context: ResourceContext, executions: Executions, news: Callable[[], None]
) -> list[ControllerRouterHandler]:
    base = "/v0/jobs/{job:str}/executions"

    @post(
        base,
        status_code=200,
        operation_id="CreateJobExecution",
        opt={"body": JobExecutionRequest, "answer": CreatedJobExecution, "errors": (429,)},
    )
    async def create_job_execution(request: AnyRequest, job: str) -> Response[bytes]:
        workspace, at = caller_of(request).workspace, now()
        asked = await decode_body(request, JobExecutionRequest)
        row = await context.db.write(
            lambda conn: executions.create(conn, workspace, job, asked, at)
        )
        news()
        return json_response(msgspec.json.encode(created(row, asked)))

    @delete(
        base + "/{execution:str}",
        status_code=200,
        operation_id="DeleteJobExecution",
        opt={"answer": JobExecution},
    )
    async def cancel_job_execution(
        request: AnyRequest, job: str, execution: str
    ) -> Response[bytes]:
        workspace, at = caller_of(request).workspace, now()

        def write(conn: Connection) -> bytes:
            executions.cancel(conn, workspace, job, execution, at)
            return _whole(conn, executions.need(conn, workspace, job, execution))

        answer = await context.db.write(write)
        news()
        return json_response(answer)

    return [create_job_execution, cancel_job_execution]


def answer_executions(
    conn: Connection, cursors: CursorCodec, workspace: str, job: str, request: AnyRequest
) -> bytes:
    """The JSON of a list of executions: a page since ``PAGES_SINCE``, an array by offset before.

    Raises:
        BadRequest: a parameter is not understood, or the cursor is of another query or too old.
    """
    params = dict(request.query_params)
    limit = _number(params.pop("limit", ""), "limit", 1, LIMIT_EXECUTIONS_MAX, LIMIT_EXECUTIONS)
    query = parse_page_query(params, ())
    if not at_least(request.state["version"], PAGES_SINCE):
        offset = _number(params.get("offset", ""), "offset", 0, OFFSET_MAX, 0)
        rows = _page(conn, workspace, job, Position(limit, offset=offset), query)
        return join_array(_encoded(conn, rows[:limit]))
    scope = query.fingerprint(f"{workspace}/executions/{job}")
    after = cursors.decode(scope, query.cursor) if query.cursor else None
    rows = _page(conn, workspace, job, Position(limit, after), query)
    more, rows = len(rows) > limit, rows[:limit]
    token = cursors.encode(scope, [rows[-1].created_at, rows[-1].id]) if more else None
    return join_page(_encoded(conn, rows), token, records.count(conn, workspace, job))


def _page(
    conn: Connection, workspace: str, job: str, position: Position, query: PageQuery
) -> list[ExecutionRow]:
    if query.column != "created_at":
        raise BadRequest("sort: executions are sorted by createdAt:desc or createdAt:asc.")
    return records.page(conn, workspace, job, position, descending=query.descending, q=query.q)


def _encoded(conn: Connection, rows: list[ExecutionRow]) -> list[bytes]:
    return [msgspec.json.encode(view(row, task_records.count(conn, row))) for row in rows]


def _number(text: str, field: str, low: int, high: int, default: int) -> int:
    if not text:
        return default
    if len(text) <= 10 and text.isascii() and text.isdecimal() and low <= int(text) <= high:
        return int(text)
    raise BadRequest(f"{field} {text[:20]!r} is not a whole number from {low} to {high}.")


def answer_tasks(
    cursors: CursorCodec, row: ExecutionRow, tasks: list[TaskRow], params: Any
) -> bytes:
    """The JSON of a page of tasks; they stand in the order they were sent, or the reverse.

    Raises:
        BadRequest: a parameter is not understood, or the cursor is of another query or too old.
    """
    query = parse_page_query(params, ())
    total = len(tasks)
    if query.q is not None:
        tasks = [task for task in tasks if query.q in task.name]
    if query.column == "name" and query.descending:
        tasks.reverse()
    scope = query.fingerprint(f"{row.workspace}/tasks/{row.id}")
    start = int(cursors.decode(scope, query.cursor)[0]) if query.cursor else 0
    end = start + (query.limit or LIMIT_DEFAULT)
    token = cursors.encode(scope, [str(end)]) if end < len(tasks) else None
    return join_page(
        [msgspec.json.encode(task_view(row, task)) for task in tasks[start:end]], token, total
    )
