"""The users of the request's workspace over HTTP."""

import msgspec
import structlog
from litestar import Response, delete, get, post, put
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, decode_body
from serai.identity import invitations, people
from serai.identity.caller import caller_of
from serai.identity.context import IdentityContext
from serai.identity.invitation_mail import link_of, mail_of
from serai.identity.operations.answers import answer
from serai.wire.identity import InviteBody, PendingInvitation, RoleBody, WorkspaceUser

log = structlog.get_logger(__name__)
ONE = "/v0/users/{sub_or_email:str}"


def people_operations(context: IdentityContext) -> list[ControllerRouterHandler]:
    """List, invite, change a role, remove."""

    @get("/v0/users", operation_id="ListWorkspaceUsers", opt={"answer": list[WorkspaceUser]})
    async def list_users(request: AnyRequest) -> Response[bytes]:
        workspace = caller_of(request).workspace
        return answer(await context.db.read(lambda conn: people.listing(conn, workspace)))

    @post(
        "/v0/users",
        status_code=200,
        operation_id="InviteWorkspaceUser",
        opt={"body": InviteBody, "answer": PendingInvitation},
    )
    async def invite_user(request: AnyRequest) -> Response[bytes]:
        caller = caller_of(request)
        workspace, inviter = caller.workspace, caller.principal
        body = await decode_body(request, InviteBody)
        mailer = context.mailer

        def invite(conn: Connection) -> tuple[PendingInvitation, str]:
            invitation, secret = invitations.invite(conn, context.vault, workspace, body, inviter)
            link = link_of(context.origin, secret)
            if mailer is not None:
                mailer.write(conn, mail_of(invitation, link))
            return invitation, link

        invitation, link = await context.db.write(invite)
        if mailer is not None:
            mailer.wake()
            return answer(invitation)
        log.info("invitation", workspace=workspace, email=invitation.email, link=link)
        return answer(msgspec.structs.replace(invitation, link=link))

    @put(
        ONE,
        operation_id="UpdateWorkspaceUserRole",
        opt={"body": RoleBody, "answer": WorkspaceUser},
    )
    async def update_role(request: AnyRequest, sub_or_email: str) -> Response[bytes]:
        workspace = caller_of(request).workspace
        role = (await decode_body(request, RoleBody)).role
        return answer(
            await context.write(lambda conn: people.set_role(conn, workspace, sub_or_email, role))
        )

    @delete(ONE, status_code=200, operation_id="RemoveWorkspaceUser", opt={"answer": WorkspaceUser})
    async def remove_user(request: AnyRequest, sub_or_email: str) -> Response[bytes]:
        workspace = caller_of(request).workspace
        return answer(
            await context.write(lambda conn: people.remove(conn, workspace, sub_or_email))
        )

    return [list_users, invite_user, update_role, remove_user]
