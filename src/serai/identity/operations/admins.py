"""The admins of the caller's account over HTTP: our extension, for admins of the account."""

from litestar import Response, delete, get, put
from litestar.types import ControllerRouterHandler

from serai.api.exchange import AnyRequest
from serai.identity import admins
from serai.identity.caller import caller_of
from serai.identity.context import IdentityContext
from serai.identity.operations.answers import answer
from serai.wire.identity import WorkspaceUser

ALL = "/v0/account/admins"
ONE = ALL + "/{sub_or_email:str}"


def admin_operations(context: IdentityContext) -> list[ControllerRouterHandler]:
    """List, appoint, dismiss."""

    @get(ALL, operation_id="ListAccountAdmins", opt={"answer": list[WorkspaceUser]})
    async def list_admins(request: AnyRequest) -> Response[bytes]:
        account = caller_of(request).principal.account_id
        return answer(await context.db.read(lambda conn: admins.listing(conn, account)))

    @put(ONE, operation_id="AppointAccountAdmin", opt={"answer": WorkspaceUser})
    async def appoint_admin(request: AnyRequest, sub_or_email: str) -> Response[bytes]:
        account = caller_of(request).principal.account_id
        return answer(await context.write(lambda conn: admins.appoint(conn, account, sub_or_email)))

    @delete(ONE, status_code=200, operation_id="DismissAccountAdmin", opt={"answer": WorkspaceUser})
    async def dismiss_admin(request: AnyRequest, sub_or_email: str) -> Response[bytes]:
        account = caller_of(request).principal.account_id
        return answer(await context.write(lambda conn: admins.dismiss(conn, account, sub_or_email)))

    return [list_admins, appoint_admin, dismiss_admin]
