"""Limits over HTTP: one client reads them, account admins set them."""

import msgspec
from litestar import Response, get, put
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, decode_body, json_response
from serai.identity.caller import Caller, caller_of
from serai.kernel.errors import Forbidden
from serai.resources import audit, quotas
from serai.resources.audit import Target
from serai.resources.audit_operations import workspace_or_none
from serai.resources.operations import actor_in, labelled
from serai.resources.quotas import Limit
from serai.store.database import Database
from serai.wire.governance import Quota

PATH = "/v0/quotas/account/{account_id:str}"


def quota_operations(db: Database, usage: Database) -> list[ControllerRouterHandler]:
    """Read the limits of the caller's account, and replace them all.

    ``usage`` is the usage store: what is used of a limit of tokens is asked there.
    """

    async def tokens(account_id: str) -> dict[Limit, int]:
        limits = await db.read(lambda conn: quotas.token_limits(conn, account_id))
        return await usage.read(lambda conn: quotas.tokens_used(conn, limits)) if limits else {}

    async def shown(account_id: str) -> Response[bytes]:
        used = await tokens(account_id)
        found = await db.read(lambda conn: quotas.listing(conn, account_id, used))
        return json_response(msgspec.json.encode(found))

    @get(PATH, **labelled("GetAccountQuotas", list[Quota]))
    async def get_quotas(request: AnyRequest, account_id: str) -> Response[bytes]:
        _check_account(caller_of(request), account_id)
        return await shown(account_id)

    @put(PATH, **labelled("UpdateAccountQuotas", list[Quota], list[Quota]))
    async def set_quotas(request: AnyRequest, account_id: str) -> Response[bytes]:
        caller = caller_of(request)
        _check_account(caller, account_id)
        if not caller.principal.account_admin:
            raise Forbidden("Only an admin of the account may set its quotas.")
        wanted = await decode_body(request, list[Quota])
        actor = actor_in(caller, workspace_or_none(caller))

        def write(conn: Connection) -> None:
            before = quotas.listing(conn, account_id, {})
            quotas.replace(conn, account_id, wanted)
            after = quotas.listing(conn, account_id, {})
            target = Target(kind="quotas", name=account_id, id=account_id)
            audit.record(conn, actor, "update", target, _limits(before), _limits(after))

        await db.write(write)
        return await shown(account_id)

    return [get_quotas, set_quotas]


def _limits(shown: list[Quota]) -> dict[str, int]:
    return {f"{one.workspace or '*'}/{one.resource_type}": one.value for one in shown}


def _check_account(caller: Caller, account_id: str) -> None:
    if account_id != caller.principal.account_id:
        raise Forbidden(
            "Access denied: this key belongs to another account; GET /v0/accounts tells its id."
        )
