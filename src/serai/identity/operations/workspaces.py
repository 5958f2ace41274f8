"""Workspaces over HTTP. None of these needs a workspace header: the path says which."""

import msgspec
from litestar import Response, delete, get, post, put
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, decode_body, flag
from serai.identity import people, workspaces
from serai.identity.caller import caller_of
from serai.identity.context import IdentityContext
from serai.identity.operations.answers import answer
from serai.kernel.errors import BadRequest, Forbidden
from serai.wire.identity import AvailabilityQuestion, Workspace, WorkspaceAvailability

ONE = "/v0/workspaces/{workspace_name:str}"


def workspace_operations(context: IdentityContext) -> list[ControllerRouterHandler]:
    """List, create, get, update, delete, leave, and ask for a name."""
    return [*_reads(context), *_availability(context), *_writes(context)]


def _reads(context: IdentityContext) -> list[ControllerRouterHandler]:
    db = context.db

    @get("/v0/workspaces", operation_id="ListWorkspaces", opt={"answer": list[Workspace]})
    async def list_workspaces(request: AnyRequest) -> Response[bytes]:
        names = caller_of(request).principal.workspaces
        return answer(await db.read(lambda conn: workspaces.listing(conn, names)))

    @get(
        ONE,
        operation_id="GetWorkspace",
        opt={"answer": Workspace, "query": {"countResources": bool}},
    )
    async def get_workspace(request: AnyRequest, workspace_name: str) -> Response[bytes]:
        caller = caller_of(request).principal
        with_counts = flag(request, "countResources")

        def read(conn: Connection) -> Workspace:
            found = workspaces.need(conn, caller, workspace_name)
            if not with_counts:
                return found
            counts = workspaces.counts(conn, workspace_name)
            return msgspec.structs.replace(found, resource_counts=counts)

        return answer(await db.read(read))

    return [list_workspaces, get_workspace]


def _availability(context: IdentityContext) -> list[ControllerRouterHandler]:
    @post(
        "/v0/workspaces/availability",
        status_code=200,
        operation_id="CheckWorkspaceAvailability",
        opt={
            "body": AvailabilityQuestion,
            "answer": bool | WorkspaceAvailability,
            "query": {"withReason": bool},
        },
    )
    async def check_availability(request: AnyRequest) -> Response[bytes]:
        name = (await decode_body(request, AvailabilityQuestion)).name
        account = caller_of(request).principal.account_id
        found = await context.db.read(lambda conn: _available(conn, context, account, name))
        return answer(found if flag(request, "withReason") else found.available)

    return [check_availability]


def _available(
    conn: Connection, context: IdentityContext, account_id: str, name: str
) -> WorkspaceAvailability:
    refusal = context.names.refusal(name)
    if refusal is not None:
        return WorkspaceAvailability(
            available=False, reason=refusal.reason, message=refusal.message
        )
    if workspaces.taken(conn, name, account_id):
        message = f"The name {name!r} is taken."
        return WorkspaceAvailability(available=False, reason="taken", message=message)
    return WorkspaceAvailability(available=True)


def _writes(context: IdentityContext) -> list[ControllerRouterHandler]:
    contract = {"body": Workspace, "answer": Workspace}

    @post("/v0/workspaces", status_code=200, operation_id="CreateWorkspace", opt=contract)
    async def create_workspace(request: AnyRequest) -> Response[bytes]:
        caller = caller_of(request).principal
        wanted = await decode_body(request, Workspace)
        if wanted.name is None:
            raise BadRequest("name is missing: give the workspace a name.")
        context.names.check(wanted.name)
        return answer(await context.write(lambda conn: workspaces.create(conn, caller, wanted)))

    @put(ONE, operation_id="UpdateWorkspace", opt=contract)
    async def update_workspace(request: AnyRequest, workspace_name: str) -> Response[bytes]:
        caller = caller_of(request).principal
        wanted = await decode_body(request, Workspace)
        return answer(
            await context.write(
                lambda conn: workspaces.replace(conn, caller, workspace_name, wanted)
            )
        )

    @delete(ONE, status_code=200, operation_id="DeleteWorkspace", opt={"answer": Workspace})
    async def delete_workspace(request: AnyRequest, workspace_name: str) -> Response[bytes]:
        caller = caller_of(request).principal
        gone = await context.write(lambda conn: workspaces.remove(conn, caller, workspace_name))
        context.workspace_gone(workspace_name)
        return answer(gone)

    @delete(
        ONE + "/leave", status_code=200, operation_id="LeaveWorkspace", opt={"answer": Workspace}
    )
    async def leave_workspace(request: AnyRequest, workspace_name: str) -> Response[bytes]:
        caller = caller_of(request).principal

        def write(conn: Connection) -> Workspace:
            found = workspaces.need(conn, caller, workspace_name)
            if caller.kind != "user":
                raise Forbidden("A service account belongs to its workspace; delete it instead.")
            people.remove(conn, workspace_name, caller.subject)
            return found

        return answer(await context.write(write))

    return [create_workspace, update_workspace, delete_workspace, leave_workspace]
