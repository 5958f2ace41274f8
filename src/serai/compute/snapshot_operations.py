"""Snapshots, forks and archives over HTTP."""

from collections.abc import Mapping
from typing import Literal

import msgspec
from litestar import Response, delete, get, post
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, decode_body, json_response
from serai.api.pages import LIMIT_DEFAULT, join_array, join_page, parse_page_query
from serai.compute import snapshot_records as rows
from serai.compute.archives import Archives
from serai.compute.forks import Forks
from serai.compute.kind import SANDBOXES
from serai.compute.snapshot_records import SnapshotRow
from serai.compute.snapshots import Snapshots
from serai.identity.caller import Caller, caller_of
from serai.kernel.errors import BadRequest
from serai.resources import documents
from serai.resources.operations import ResourceContext, actor_of, answer
from serai.wire.sandboxes import (
    ForkRequest,
    ForkResponse,
    RestoreResponse,
    Sandbox,
    Snapshot,
    SnapshotPage,
    SnapshotRequest,
    SnapshotSource,
    SnapshotSpec,
)

SANDBOX = "/v0/sandboxes/{parent:str}"
ONE = "/v0/snapshots/{name:str}"
_STATUS: Mapping[str, Literal["pending", "ready", "failed"]] = {
    "pending": "pending",
    "ready": "ready",
    "failed": "failed",
}


def snapshot_operations(
    context: ResourceContext, snapshots: Snapshots, archives: Archives
) -> list[ControllerRouterHandler]:
    """Every operation on snapshots, forks and archives."""
    return [
        *_lists(context, snapshots),
        *_making(snapshots),
        *_of_sandbox(snapshots),
        *_of_workspace(snapshots),
        *_forks(Forks(snapshots, context.on_change)),
        *_archives(archives),
    ]


def shown(conn: Connection, row: SnapshotRow) -> bytes:
    """A snapshot as clients see it."""
    living = documents.find(conn, row.workspace, SANDBOXES.name, row.sandbox)
    deleted = living is None or living.id != row.sandbox_id or living.status == "TERMINATED"
    return msgspec.json.encode(
        Snapshot(
            id=row.id,
            name=row.name,
            workspace=row.workspace,
            sandbox_name=row.sandbox,
            status=_STATUS[row.status],
            created_at=row.created_at,
            created_by=row.created_by,
            contents=row.level,
            size=row.size,
            source=SnapshotSource(name=row.sandbox, kind="sandbox", deleted=deleted),
            spec=msgspec.json.decode(row.body, type=SnapshotSpec),
        )
    )


def _lists(context: ResourceContext, snapshots: Snapshots) -> list[ControllerRouterHandler]:
    @get(
        SANDBOX + "/snapshots",
        operation_id="ListSandboxSnapshots",
        opt={"body": None, "answer": list[Snapshot]},
    )
    async def list_sandbox_snapshots(request: AnyRequest, parent: str) -> Response[bytes]:
        workspace = caller_of(request).workspace

        def read(conn: Connection) -> bytes:
            document = context.store.need(conn, SANDBOXES, workspace, parent)
            found = rows.of_sandbox(conn, workspace, document.id)
            return join_array([shown(conn, row) for row in found])

        return json_response(await context.db.read(read))

    @get(
        "/v0/snapshots",
        operation_id="ListSnapshots",
        opt={"body": None, "answer": SnapshotPage, "paged": "2026-04-16"},
    )
    async def list_snapshots(request: AnyRequest) -> Response[bytes]:
        workspace = caller_of(request).workspace
        query = parse_page_query(request.query_params, ())
        scope = query.fingerprint(f"{workspace}/snapshots")
        after = context.cursors.decode(scope, query.cursor) if query.cursor else None

        def read(conn: Connection) -> bytes:
            size = query.limit or LIMIT_DEFAULT
            found, last, total = rows.page(conn, workspace, query, after, size)
            more = context.cursors.encode(scope, last) if last else None
            return join_page([shown(conn, row) for row in found], more, total)

        return json_response(await context.db.read(read))

    return [list_sandbox_snapshots, list_snapshots]


def _making(snapshots: Snapshots) -> list[ControllerRouterHandler]:
    async def take(caller: Caller, sandbox: str, wanted: SnapshotRequest) -> Response[bytes]:
        account_id, actor = caller.principal.account_id, actor_of(caller)
        row = await snapshots.take(actor, account_id, sandbox, wanted.name, wanted.contents)
        return json_response(await snapshots.db.read(lambda conn: shown(conn, row)))

    @post(
        SANDBOX + "/snapshots",
        status_code=200,
        operation_id="CreateSandboxSnapshot",
        opt={"body": SnapshotRequest, "answer": Snapshot},
    )
    async def create_sandbox_snapshot(request: AnyRequest, parent: str) -> Response[bytes]:
        wanted = SnapshotRequest()
        if await request.body():
            wanted = await decode_body(request, SnapshotRequest)
        if wanted.source is not None and wanted.source.name != parent:
            raise BadRequest(
                f"source.name {wanted.source.name[:80]!r} differs from the sandbox in the path, "
                f"{parent[:80]!r}; leave source out."
            )
        return await take(caller_of(request), parent, wanted)

    @post(
        "/v0/snapshots",
        status_code=200,
        operation_id="CreateSnapshot",
        opt={"body": SnapshotRequest, "answer": Snapshot},
    )
    async def create_snapshot(request: AnyRequest) -> Response[bytes]:
        wanted = await decode_body(request, SnapshotRequest)
        if wanted.source is None:
            raise BadRequest("source is missing: name the sandbox in source.name.")
        return await take(caller_of(request), wanted.source.name, wanted)

    return [create_sandbox_snapshot, create_snapshot]


def _of_sandbox(snapshots: Snapshots) -> list[ControllerRouterHandler]:
    path = SANDBOX + "/snapshots/{name:str}"

    @delete(
        path,
        status_code=204,
        operation_id="DeleteSandboxSnapshot",
        opt={"body": None, "answer": None},
    )
    async def delete_sandbox_snapshot(request: AnyRequest, parent: str, name: str) -> None:
        actor = actor_of(caller_of(request))
        found = await snapshots.db.read(
            lambda conn: snapshots.need_of(conn, actor.workspace, parent, name)
        )
        await snapshots.delete(actor, found[1])

    @post(
        path + "/restore",
        status_code=200,
        operation_id="RestoreSandboxSnapshot",
        opt={"body": None, "answer": RestoreResponse},
    )
    async def restore_snapshot(request: AnyRequest, parent: str, name: str) -> Response[bytes]:
        row = await snapshots.restore(actor_of(caller_of(request)), parent, name)
        made = RestoreResponse(name=parent, snapshot_id=row.id)
        return json_response(msgspec.json.encode(made))

    return [delete_sandbox_snapshot, restore_snapshot]


def _of_workspace(snapshots: Snapshots) -> list[ControllerRouterHandler]:
    async def need(request: AnyRequest, name: str) -> SnapshotRow:
        workspace = caller_of(request).workspace
        return await snapshots.db.read(lambda conn: snapshots.need(conn, workspace, name))

    @get(ONE, operation_id="GetSnapshot", opt={"body": None, "answer": Snapshot})
    async def get_snapshot(request: AnyRequest, name: str) -> Response[bytes]:
        row = await need(request, name)
        return json_response(await snapshots.db.read(lambda conn: shown(conn, row)))

    @delete(ONE, status_code=204, operation_id="DeleteSnapshot", opt={"body": None, "answer": None})
    async def delete_snapshot(request: AnyRequest, name: str) -> None:
        await snapshots.delete(actor_of(caller_of(request)), await need(request, name))

    return [get_snapshot, delete_snapshot]


def _forks(forks: Forks) -> list[ControllerRouterHandler]:
    @post(
        SANDBOX + "/fork",
        status_code=200,
        operation_id="ForkSandbox",
        opt={"body": ForkRequest, "answer": ForkResponse},
    )
    async def fork_sandbox(request: AnyRequest, parent: str) -> Response[bytes]:
        caller = caller_of(request)
        wanted = await decode_body(request, ForkRequest)
        account_id = caller.principal.account_id
        made = await forks.of_sandbox(actor_of(caller), account_id, parent, wanted)
        return json_response(msgspec.json.encode(made))

    @post(
        ONE + "/fork",
        status_code=200,
        operation_id="ForkSnapshot",
        opt={"body": ForkRequest, "answer": ForkResponse},
    )
    async def fork_snapshot(request: AnyRequest, name: str) -> Response[bytes]:
        caller = caller_of(request)
        wanted = await decode_body(request, ForkRequest)
        if wanted.snapshot_id not in {None, name}:
            raise BadRequest("snapshotId differs from the snapshot in the path; leave it out.")
        row = await forks.db.read(lambda conn: forks.snapshots.need(conn, caller.workspace, name))
        account_id = caller.principal.account_id
        made = await forks.of_snapshot(actor_of(caller), account_id, row, wanted)
        return json_response(msgspec.json.encode(made))

    return [fork_sandbox, fork_snapshot]


def _archives(archives: Archives) -> list[ControllerRouterHandler]:
    @post(
        SANDBOX + "/archive",
        status_code=200,
        operation_id="ArchiveSandbox",
        opt={"body": None, "answer": Sandbox},
    )
    async def archive_sandbox(request: AnyRequest, parent: str) -> Response[bytes]:
        return answer(await archives.archive(actor_of(caller_of(request)), parent))

    @post(
        SANDBOX + "/unarchive",
        status_code=200,
        operation_id="UnarchiveSandbox",
        opt={"body": None, "answer": Sandbox},
    )
    async def unarchive_sandbox(request: AnyRequest, parent: str) -> Response[bytes]:
        return answer(await archives.unarchive(actor_of(caller_of(request)), parent))

    return [archive_sandbox, unarchive_sandbox]
