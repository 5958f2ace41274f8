"""Reading policies over HTTP, with the number of resources that refer to them."""

from typing import Any

import msgspec
from litestar import Response, get
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, json_response
from serai.api.pages import PageOf
from serai.catalog.policies import Users, counts, policy_users, usages
from serai.resources.kinds import POLICIES
from serai.resources.listing import answer_list
from serai.resources.operations import ResourceContext, caller_of
from serai.wire.catalog import PolicyUsages
from serai.wire.models import Policy


def policy_read_operations(context: ResourceContext) -> list[ControllerRouterHandler]:
    """List, get and usages; the operations that write are those of every kind."""
    db, store = context.db, context.store

    @get("/v0/policies", operation_id="ListPolicies", opt={"body": None, "answer": PageOf[Policy]})
    async def list_policies(request: AnyRequest) -> Response[bytes]:
        workspace = caller_of(request).workspace
        version, params = request.state["version"], request.query_params

        def read(conn: Connection) -> bytes:
            listed = answer_list(conn, context.cursors, POLICIES, workspace, version, params)
            answer = msgspec.json.decode(listed)
            users = policy_users(conn, workspace)
            for body in answer["data"] if isinstance(answer, dict) else answer:
                _count(body, users)
            return msgspec.json.encode(answer)

        return json_response(await db.read(read))

    @get(
        "/v0/policies/{name:str}",
        operation_id="GetPolicy",
        opt={"body": None, "answer": Policy},
    )
    async def get_policy(request: AnyRequest, name: str) -> Response[bytes]:
        workspace = caller_of(request).workspace

        def read(conn: Connection) -> dict[str, Any]:
            body: dict[str, Any] = msgspec.json.decode(
                store.need(conn, POLICIES, workspace, name).body
            )
            return _count(body, policy_users(conn, workspace, name))

        return json_response(msgspec.json.encode(await db.read(read)))

    @get(
        "/v0/policies/{name:str}/usages",
        operation_id="GetPolicyUsages",
        opt={"body": None, "answer": PolicyUsages},
    )
    async def get_policy_usages(request: AnyRequest, name: str) -> Response[bytes]:
        workspace = caller_of(request).workspace

        def read(conn: Connection) -> PolicyUsages:
            store.need(conn, POLICIES, workspace, name)
            return usages(conn, workspace, name)

        return json_response(msgspec.json.encode(await db.read(read)))

    return [list_policies, get_policy, get_policy_usages]


def _count(body: dict[str, Any], users: Users) -> dict[str, Any]:
    body["usage"] = msgspec.to_builtins(counts(users, body["metadata"]["name"]))
    return body
