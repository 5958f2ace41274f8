"""What sandboxes reached outside and what was refused, over HTTP."""

import msgspec
from litestar import Response, get
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, json_response
from serai.compute.kind import SANDBOXES
from serai.compute.networks import SandboxNetworks
from serai.egress.setup import EgressProblem, Report
from serai.identity.caller import caller_of
from serai.kernel.errors import ServiceUnavailable
from serai.resources.documents import Document
from serai.resources.operations import ResourceContext, labelled
from serai.wire.sandboxes import EgressRefusal, SandboxEgress


def network_operations(
    context: ResourceContext, networks: SandboxNetworks
) -> list[ControllerRouterHandler]:
    """``GET /v0/sandboxes/{name}/egress``, ours: for every member of the workspace."""

    @get("/v0/sandboxes/{name:str}/egress", **labelled("GetSandboxEgress", SandboxEgress))
    async def get_sandbox_egress(request: AnyRequest, name: str) -> Response[bytes]:
        workspace = caller_of(request).workspace

        def find(conn: Connection) -> Document:
            return context.store.need(conn, SANDBOXES, workspace, name)

        document = await context.db.read(find)
        try:
            report = await networks.report(document.id)
        except EgressProblem as problem:
            raise ServiceUnavailable(
                f"What sandbox {name!r} reached is not known now: {problem}."
            ) from problem
        return json_response(msgspec.json.encode(_shown(report)))

    return [get_sandbox_egress]


def _shown(report: Report) -> SandboxEgress:
    refusals = [
        EgressRefusal(
            time=each.at,
            host=each.host,
            port=each.port,
            reason=each.reason,
            method=each.method or None,
            path=each.path or None,
        )
        for each in report.refusals
    ]
    return SandboxEgress(
        connections=report.connections,
        allowed=report.allowed,
        blocked=report.blocked,
        sent_bytes=report.sent_bytes,
        received_bytes=report.received_bytes,
        refusals=refusals,
    )
