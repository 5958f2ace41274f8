"""Reading policies over HTTP: the list counts the resources that refer to each."""

import msgspec
from litestar import Response, get
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, json_response
from serai.api.versions import PAGES_SINCE
from serai.catalog.policies import counts, policy_users, usages
from serai.identity.caller import caller_of
from serai.resources.kinds import POLICIES
from serai.resources.listing import answer_list
from serai.resources.operations import ResourceContext, read_operations
from serai.wire.catalog import PolicyUsages
from serai.wire.models import Policy


def policy_read_operations(context: ResourceContext) -> list[ControllerRouterHandler]:
    """List, get and usages; the operations that write are those of every kind."""
    db, store = context.db, context.store

    @get(
        "/v0/policies",
        operation_id="ListPolicies",
        opt={
            "body": None,
            "answer": list[Policy],
            "paged": PAGES_SINCE,
            "query": {"externalId": str},
        },
    )
    async def list_policies(request: AnyRequest) -> Response[bytes]:
        workspace = caller_of(request).workspace
        version, params = request.state["version"], request.query_params

        def read(conn: Connection) -> bytes:
            listed = answer_list(conn, context.cursors, POLICIES, workspace, version, params)
            answer = msgspec.json.decode(listed)
            users = policy_users(conn, workspace)
            for body in answer["data"] if isinstance(answer, dict) else answer:
                usage = counts(users, body["metadata"]["name"])
                body["usage"] = msgspec.to_builtins(usage)
            return msgspec.json.encode(answer)

        return json_response(await db.read(read))

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

    _, get_policy = read_operations(context, POLICIES)
    return [list_policies, get_policy, get_policy_usages]
