"""The caller about themselves, over HTTP. None of these needs a workspace."""

from typing import Any

from litestar import Response, delete, get, post
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection, select

from serai.api.exchange import AnyRequest, decode_body
from serai.identity import api_keys
from serai.identity.api_keys import Holder
from serai.identity.caller import caller_of
from serai.identity.context import IdentityContext
from serai.identity.operations.answers import answer
from serai.identity.principal import Principal
from serai.kernel.errors import Forbidden
from serai.store.tables.identity import users
from serai.wire.identity import ApiKey, CreateApiKeyBody, Grant, Profile

KEYS = "/v0/profile/api_keys"


def profile_operations(context: IdentityContext) -> list[ControllerRouterHandler]:
    """Who am I, and my keys. Service accounts have theirs made by an admin."""

    @get("/v0/profile", operation_id="GetProfile", opt={"answer": Profile})
    async def get_profile(request: AnyRequest) -> Response[bytes]:
        caller = caller_of(request).principal
        return answer(await context.db.read(lambda conn: _profile(conn, caller)))

    @get(KEYS, operation_id="ListProfileApiKeys", opt={"answer": list[ApiKey]})
    async def list_keys(request: AnyRequest) -> Response[bytes]:
        holder = _user(caller_of(request).principal)
        return answer(await context.db.read(lambda conn: api_keys.listing(conn, holder)))

    @post(
        KEYS,
        status_code=200,
        operation_id="CreateProfileApiKey",
        opt={"body": CreateApiKeyBody, "answer": ApiKey},
    )
    async def create_key(request: AnyRequest) -> Response[bytes]:
        caller = caller_of(request).principal
        holder, body = _user(caller), await decode_body(request, CreateApiKeyBody)
        return answer(
            await context.db.write(
                lambda conn: api_keys.create(conn, context.vault, holder, body, caller)
            )
        )

    @delete(
        KEYS + "/{api_key_id:str}",
        status_code=200,
        operation_id="DeleteProfileApiKey",
        opt={"answer": ApiKey},
    )
    async def delete_key(request: AnyRequest, api_key_id: str) -> Response[bytes]:
        holder = _user(caller_of(request).principal)
        return answer(await context.write(lambda conn: api_keys.revoke(conn, holder, api_key_id)))

    return [get_profile, list_keys, create_key, delete_key]


def _user(caller: Principal) -> Holder:
    if caller.kind != "user":
        raise Forbidden(
            "The keys of a service account are managed by an admin, at "
            f"/v0/service_accounts/{caller.subject}/api_keys."
        )
    return Holder("user", caller.subject)


def _profile(conn: Connection, caller: Principal) -> Profile:
    row: Any = None
    if caller.kind == "user":
        row = conn.execute(select(users).where(users.c.id == caller.subject)).first()
    grants = [Grant(name=name, role=role) for name, role in sorted(caller.workspaces.items())]
    return Profile(
        sub=caller.subject,
        sub_type=caller.kind,
        email=caller.email if caller.kind == "user" else None,
        email_verified=row.email_verified if row else None,
        given_name=row.given_name if row else None,
        family_name=row.family_name if row else None,
        account_id=caller.account_id,
        account_admin=caller.account_admin,
        workspaces=grants,
    )
