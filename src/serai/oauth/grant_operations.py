"""Which applications and devices act for the caller, and ending them, over HTTP."""

from typing import Any

from litestar import Response, delete, get
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, current_origin
from serai.identity import grants
from serai.identity.caller import caller_of
from serai.identity.context import IdentityContext
from serai.identity.operations.answers import answer
from serai.identity.principal import Principal
from serai.kernel.clock import now
from serai.kernel.errors import Forbidden, NotFound
from serai.oauth import clients, trail
from serai.store.secrets import Vault
from serai.wire.oauth import ProfileGrant

ALL = "/v0/profile/grants"
ONE = ALL + "/{grant_id:str}"


def grant_operations(context: IdentityContext) -> list[ControllerRouterHandler]:
    """List the caller's grants, end one, end all."""

    @get(ALL, operation_id="ListProfileGrants", opt={"answer": list[ProfileGrant]})
    async def list_grants(request: AnyRequest) -> Response[bytes]:
        """Which applications and devices act for the caller"""
        caller = _person(request)
        return answer(await context.db.read(lambda conn: listing(conn, context.vault, caller)))

    @delete(ONE, status_code=200, operation_id="DeleteProfileGrant", opt={"answer": ProfileGrant})
    async def end_grant(request: AnyRequest, grant_id: str) -> Response[bytes]:
        """End what an application or device may do for the caller"""
        caller = _person(request)
        [ended] = await _end(context, caller, grant_id)
        return answer(ended)

    @delete(
        ALL, status_code=200, operation_id="DeleteProfileGrants", opt={"answer": list[ProfileGrant]}
    )
    async def end_grants(request: AnyRequest) -> Response[bytes]:
        """End what all applications and devices may do for the caller"""
        return answer(await _end(context, _person(request), None))

    return [list_grants, end_grant, end_grants]


def listing(conn: Connection, vault: Vault, caller: Principal) -> list[ProfileGrant]:
    """The living grants of a person, the last used first."""
    rows = grants.listing(conn, caller.subject, now())
    return [_shown(conn, vault, row, caller) for row in rows]


async def _end(
    context: IdentityContext, caller: Principal, grant_id: str | None
) -> list[ProfileGrant]:
    """End one grant or, without an id, all."""
    origin = current_origin()

    def work(conn: Connection) -> list[ProfileGrant]:
        alive = listing(conn, context.vault, caller)
        wanted = [one for one in alive if grant_id in (None, one.id)]
        if not wanted and grant_id is not None:
            raise NotFound(
                f"Nothing acts for you under the id {grant_id[:80]!r}.", code="GRANT_NOT_FOUND"
            )
        for one in wanted:
            grant = grants.find(conn, one.id, now())
            if grant is not None:
                trail.note(conn, origin, grant, "revoke")
                grants.revoke(conn, one.id)
        return wanted

    return await context.write(work)


def _shown(conn: Connection, vault: Vault, row: Any, caller: Principal) -> ProfileGrant:
    client = clients.find(conn, vault, row.client_id)
    return ProfileGrant(
        id=row.id,
        client_id=row.client_id,
        client_name=client.name if client else row.client_id,
        kind="device" if row.device_digest else "application",
        scopes=row.scope.split(),
        workspace=row.workspace,
        bound=row.bound,
        current=row.id == caller.credential_id,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
        user_agent=row.user_agent or None,
        address=row.address or None,
    )


def _person(request: AnyRequest) -> Principal:
    caller = caller_of(request).principal
    if caller.kind == "user":
        return caller
    raise Forbidden("Nobody acts for a service account but those who have its secret.")
