"""Snapshots, forks and archives of sandboxes.

No runtime of this version can save a running sandbox, so there are no snapshots: lists are
truthfully empty, a snapshot that is named is not found, and making one is refused with the reason.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Response, delete, get, post
from litestar.types import ControllerRouterHandler

from serai.api.exchange import AnyRequest, decode_body, json_response
from serai.api.pages import join_array, join_page, parse_page_query
from serai.compute.kind import SANDBOXES, need_living
from serai.identity.caller import caller_of
from serai.kernel.errors import Conflict, NotFound
from serai.resources.operations import ResourceContext
from serai.wire.sandboxes import (
    ForkRequest,
    ForkResponse,
    RestoreResponse,
    Sandbox,
    Snapshot,
    SnapshotPage,
    SnapshotRequest,
)

SANDBOX = "/v0/sandboxes/{parent:str}"


def snapshot_operations(context: ResourceContext) -> list[ControllerRouterHandler]:
    """Every operation on snapshots, forks and archives."""
    return [*_lists(context), *_making(context), *_named(context), *_archives(context)]


def not_available(what: str) -> Conflict:
    """This installation cannot do that."""
    return Conflict(
        f"{what} is not available on this installation: its sandbox runtime cannot save the state "
        "of a running sandbox. Files can be copied out through the sandbox's filesystem API.",
        code="NOT_AVAILABLE",
    )


async def _living(context: ResourceContext, request: AnyRequest, sandbox: str) -> None:
    workspace = caller_of(request).workspace
    await context.db.read(lambda conn: need_living(conn, context.store, workspace, sandbox))


async def _needed(context: ResourceContext, request: AnyRequest, sandbox: str) -> None:
    workspace = caller_of(request).workspace
    await context.db.read(lambda conn: context.store.need(conn, SANDBOXES, workspace, sandbox))


def _no_snapshot(name: str) -> NotFound:
    return NotFound(
        f"There is no snapshot {name[:80]!r} in this workspace.", code="SNAPSHOT_NOT_FOUND"
    )


def _lists(context: ResourceContext) -> list[ControllerRouterHandler]:
    @get(
        SANDBOX + "/snapshots",
        operation_id="ListSandboxSnapshots",
        opt={"body": None, "answer": list[Snapshot]},
    )
    async def list_sandbox_snapshots(request: AnyRequest, parent: str) -> Response[bytes]:
        await _needed(context, request, parent)
        return json_response(join_array([]))

    @get(
        "/v0/snapshots",
        operation_id="ListSnapshots",
        opt={"body": None, "answer": SnapshotPage, "paged": "2026-04-16"},
    )
    async def list_snapshots(request: AnyRequest) -> Response[bytes]:
        workspace = caller_of(request).workspace
        query = parse_page_query(request.query_params, ())
        if query.cursor:
            context.cursors.decode(query.fingerprint(f"{workspace}/snapshots"), query.cursor)
        return json_response(join_page([], None, 0))

    return [list_sandbox_snapshots, list_snapshots]


def _making(context: ResourceContext) -> list[ControllerRouterHandler]:
    @post(
        SANDBOX + "/snapshots",
        status_code=200,
        operation_id="CreateSandboxSnapshot",
        opt={"body": SnapshotRequest, "answer": Snapshot},
    )
    async def create_sandbox_snapshot(request: AnyRequest, parent: str) -> Response[bytes]:
        if await request.body():
            await decode_body(request, SnapshotRequest)
        await _living(context, request, parent)
        raise not_available("Making a snapshot")

    @post(
        "/v0/snapshots",
        status_code=200,
        operation_id="CreateSnapshot",
        opt={"body": SnapshotRequest, "answer": Snapshot},
    )
    async def create_snapshot(request: AnyRequest) -> Response[bytes]:
        await decode_body(request, SnapshotRequest)
        caller_of(request).workspace  # noqa: B018 - refuses strangers
        raise not_available("Making a snapshot")

    @post(
        SANDBOX + "/fork",
        status_code=200,
        operation_id="ForkSandbox",
        opt={"body": ForkRequest, "answer": ForkResponse},
    )
    async def fork_sandbox(request: AnyRequest, parent: str) -> Response[bytes]:
        wanted = await decode_body(request, ForkRequest)
        await _living(context, request, parent)
        if wanted.snapshot_id:
            raise _no_snapshot(wanted.snapshot_id)
        raise not_available("Forking a sandbox")

    return [create_sandbox_snapshot, create_snapshot, fork_sandbox]


def _named(context: ResourceContext) -> list[ControllerRouterHandler]:
    one, of_one = "/v0/snapshots/{name:str}", SANDBOX + "/snapshots/{name:str}"
    gone: dict[str, Any] = {"body": None, "answer": None}
    return [
        get(one, operation_id="GetSnapshot", opt={"body": None, "answer": Snapshot})(_unknown()),
        delete(one, status_code=204, operation_id="DeleteSnapshot", opt=gone)(_unknown()),
        post(
            one + "/fork",
            status_code=200,
            operation_id="ForkSnapshot",
            opt={"body": ForkRequest, "answer": ForkResponse},
        )(_unknown()),
        delete(of_one, status_code=204, operation_id="DeleteSandboxSnapshot", opt=gone)(
            _unknown_of_sandbox(context)
        ),
        post(
            of_one + "/restore",
            status_code=200,
            operation_id="RestoreSandboxSnapshot",
            opt={"body": None, "answer": RestoreResponse},
        )(_unknown_of_sandbox(context)),
    ]


def _unknown() -> Callable[..., Awaitable[None]]:
    """A new function for each route: Litestar tells routes apart by their functions."""

    async def unknown_snapshot(request: AnyRequest, name: str) -> None:
        caller_of(request).workspace  # noqa: B018 - refuses strangers
        raise _no_snapshot(name)

    return unknown_snapshot


def _unknown_of_sandbox(context: ResourceContext) -> Callable[..., Awaitable[None]]:
    async def unknown_snapshot(request: AnyRequest, parent: str, name: str) -> None:
        await _needed(context, request, parent)
        raise _no_snapshot(name)

    return unknown_snapshot


def _archives(context: ResourceContext) -> list[ControllerRouterHandler]:
    @post(
        SANDBOX + "/archive",
        status_code=200,
        operation_id="ArchiveSandbox",
        opt={"body": None, "answer": Sandbox},
    )
    async def archive_sandbox(request: AnyRequest, parent: str) -> Response[bytes]:
        await _living(context, request, parent)
        raise not_available("Archiving a sandbox")

    @post(
        SANDBOX + "/unarchive",
        status_code=200,
        operation_id="UnarchiveSandbox",
        opt={"body": None, "answer": Sandbox},
    )
    async def unarchive_sandbox(request: AnyRequest, parent: str) -> Response[bytes]:
        await _living(context, request, parent)
        raise Conflict(f"Sandbox {parent!r} is not archived.", code="SANDBOX_NOT_ARCHIVED")

    return [archive_sandbox, unarchive_sandbox]
