"""Invitations from the invited side: with a key of one's own, or with nothing but the link.

The first is what older clients know; the second is our extension, for people without a user. A
link's secret stands in a query or a body and never in a path, because paths are logged.
"""

from litestar import Response, get, post
from litestar.types import ControllerRouterHandler

from serai.api.exchange import AnyRequest, decode_body
from serai.identity import invitations
from serai.identity.caller import caller_of
from serai.identity.context import IdentityContext
from serai.identity.operations.answers import answer, optional_token
from serai.kernel.errors import BadRequest
from serai.wire.identity import (
    AcceptedInvitation,
    InvitationToken,
    PendingInvitation,
    ReceivedInvitation,
)

ONE = "/v0/workspaces/{workspace_name:str}"


def invitation_operations(context: IdentityContext) -> list[ControllerRouterHandler]:
    """List, accept and decline."""
    return [*_with_key(context), *_with_link(context)]


def _with_key(context: IdentityContext) -> list[ControllerRouterHandler]:
    vault = context.vault

    @get(
        "/v0/profile/invitations",
        operation_id="ListAllPendingInvitations",
        opt={"answer": list[ReceivedInvitation]},
    )
    async def list_invitations(request: AnyRequest) -> Response[bytes]:
        caller = caller_of(request).principal
        return answer(await context.db.read(lambda conn: invitations.received(conn, caller)))

    @post(
        ONE + "/join",
        status_code=200,
        operation_id="AcceptWorkspaceInvitation",
        opt={"body": InvitationToken, "answer": AcceptedInvitation},
    )
    async def join_workspace(request: AnyRequest, workspace_name: str) -> Response[bytes]:
        caller, token = caller_of(request).principal, await optional_token(request)
        return answer(
            await context.write(
                lambda conn: invitations.join(conn, vault, caller, workspace_name, token)
            )
        )

    @post(
        ONE + "/decline",
        status_code=200,
        operation_id="DeclineWorkspaceInvitation",
        opt={"body": InvitationToken, "answer": PendingInvitation},
    )
    async def decline_workspace(request: AnyRequest, workspace_name: str) -> Response[bytes]:
        caller, token = caller_of(request).principal, await optional_token(request)
        return answer(
            await context.db.write(
                lambda conn: invitations.decline(conn, vault, caller, workspace_name, token)
            )
        )

    return [list_invitations, join_workspace, decline_workspace]


def _with_link(context: IdentityContext) -> list[ControllerRouterHandler]:
    vault = context.vault

    @get(
        "/v0/invitations",
        operation_id="GetInvitation",
        opt={"answer": ReceivedInvitation, "public": True},
    )
    async def get_invitation(request: AnyRequest) -> Response[bytes]:
        token = _needed(request.query_params.get("token"))
        return answer(await context.db.read(lambda conn: invitations.look(conn, vault, token)))

    @post(
        "/v0/invitations/accept",
        status_code=200,
        operation_id="AcceptInvitation",
        opt={"body": InvitationToken, "answer": AcceptedInvitation, "public": True},
    )
    async def accept_invitation(request: AnyRequest) -> Response[bytes]:
        token = _needed((await decode_body(request, InvitationToken)).token)
        return answer(
            await context.write(lambda conn: invitations.accept_by_link(conn, vault, token))
        )

    @post(
        "/v0/invitations/decline",
        status_code=200,
        operation_id="DeclineInvitation",
        opt={"body": InvitationToken, "answer": PendingInvitation, "public": True},
    )
    async def decline_invitation(request: AnyRequest) -> Response[bytes]:
        token = _needed((await decode_body(request, InvitationToken)).token)
        return answer(
            await context.db.write(lambda conn: invitations.decline_by_link(conn, vault, token))
        )

    return [get_invitation, accept_invitation, decline_invitation]


def _needed(token: str | None) -> str:
    if token:
        return token
    raise BadRequest("token is missing: it stands in the invitation's link.")
