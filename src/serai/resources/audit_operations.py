"""The audit log over HTTP, and the layer that leaves no write without an entry."""

from typing import Any

import msgspec
from litestar import Response, get
from litestar.enums import ScopeType
from litestar.types import ASGIApp, ControllerRouterHandler, Message, Receive, Scope, Send
from sqlalchemy import Connection, select

from serai.api.exchange import AnyRequest, current_origin, json_response
from serai.api.pages import LIMIT_DEFAULT, join_page, page_of, parse_page_query
from serai.api.versions import RELEASES
from serai.identity.caller import Caller, caller_of
from serai.kernel.cursors import CursorCodec
from serai.kernel.errors import Forbidden, SeraiError
from serai.resources import audit, counts
from serai.resources.audit import AUDIT, Target
from serai.resources.operations import actor_in, labelled
from serai.store.database import Database
from serai.store.tables.governance import audit_entries
from serai.wire.governance import AuditChange, AuditEntry, AuditResource

FILTERS = ("kind", "name", "parent", "action", "actor")
ALWAYS = min(RELEASES)
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def audit_operations(db: Database, cursors: CursorCodec) -> list[ControllerRouterHandler]:
    """``GET /v0/audit``, ours: newest first, for admins of the workspace.

    Besides ``limit`` and ``cursor`` it takes the filters ``kind``, ``name``, ``parent``,
    ``action`` and ``actor``, each an exact value.
    """

    @get(
        "/v0/audit",
        **labelled(
            "ListAuditEntries", page_of(AuditEntry), query=dict.fromkeys(FILTERS, str), paged=ALWAYS
        ),
    )
    async def list_audit_entries(request: AnyRequest) -> Response[bytes]:
        caller = caller_of(request)
        workspace, params = caller.workspace, request.query_params
        if not caller.is_admin:
            raise Forbidden("The audit log needs the admin role in this workspace.")
        query = parse_page_query(params, ())
        wanted = {name: params[name] for name in FILTERS if params.get(name)}
        scope = repr([workspace, AUDIT, sorted(wanted.items())])
        after = cursors.decode(scope, query.cursor) if query.cursor else None
        size = query.limit or LIMIT_DEFAULT

        def read(conn: Connection) -> tuple[list[Any], int]:
            total = sum(counts.by_status(conn, (workspace, AUDIT, "")).values())
            return _rows(conn, workspace, wanted, after, size + 1), total

        rows, total = await db.read(read)
        more, rows = len(rows) > size, rows[:size]
        cursor = cursors.encode(scope, [str(rows[-1].number)]) if more else None
        items = [msgspec.json.encode(_entry(row)) for row in rows]
        return json_response(join_page(items, cursor, total))

    return [list_audit_entries]


def _rows(
    conn: Connection, workspace: str, wanted: dict[str, str], after: list[str] | None, limit: int
) -> list[Any]:
    c = audit_entries.c
    query = select(audit_entries).where(c.workspace == workspace)
    for name, value in wanted.items():
        query = query.where(c[name] == value)
    if after is not None:
        query = query.where(c.number < int(after[0]))
    return list(conn.execute(query.order_by(c.number.desc()).limit(limit)).all())


def _entry(row: Any) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        time=row.time,
        workspace=row.workspace,
        actor=row.actor,
        action=row.action,
        resource=AuditResource(
            kind=row.kind,
            name=row.name,
            id=row.resource_id or None,
            parent=row.parent or None,
        ),
        changes=msgspec.json.decode(row.changes, type=list[AuditChange]),
        subject=row.subject or None,
        credential=row.credential or None,
        client=row.client or None,
        user_agent=row.user_agent or None,
        request_id=row.request_id or None,
    )


class AuditLayer:
    """ASGI middleware inside the guard: a write whose handler wrote no entry gets a plain one.

    Such an entry has the path as its resource and no diff. It is durable before the answer.
    """

    def __init__(self, app: ASGIApp, db: Database) -> None:
        self.app = app
        self.db = db

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and look at the status of its answer."""
        if scope["type"] != ScopeType.HTTP or scope["method"] not in WRITES:
            await self.app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        caller: Caller | None = scope["state"].get("caller")

        async def checked(message: Message) -> None:
            done = message["type"] == "http.response.start" and message["status"] < 400
            if done and caller is not None and not current_origin().audited:
                actor = actor_in(caller, workspace_or_none(caller))
                target = Target(kind="", name=path[:256])
                await self.db.write(lambda conn: audit.record(conn, actor, method.lower(), target))
            await send(message)

        await self.app(scope, receive, checked)


def workspace_or_none(caller: Caller) -> str:
    """The request's workspace; empty when it names none that the caller may use."""
    try:
        return caller.workspace
    except SeraiError:
        return ""
