"""VPCs, egress gateways and egress IPs: their rules, and what is true of them here.

Sandboxes leave through the host's own addresses, as no public ones can be allocated here.
Gateways and IPs are therefore stored as ``DEACTIVATED``, with an event that says why.
"""

import msgspec

from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import BadRequest
from serai.network.domains import check_region
from serai.resources.kind import Body, Kind
from serai.resources.store import DocumentStore
from serai.wire.network import EgressGateway, EgressIp, Vpc

DEFAULT_VPC = "default"
"""Where sandboxes look for their egress gateway; made with its first gateway."""
ISOLATION = "none"
SPEC_MAX_BYTES = 16 * 1024
NO_GATEWAY = (
    "This installation does not route traffic through egress gateways: sandboxes bound to this "
    "one leave through the host's own addresses."
)
NO_ADDRESS = (
    "This installation cannot allocate public IP addresses: the address is recorded as wanted, "
    "and spec.publicIp stays absent."
)


def prepare_vpc(body: Body) -> None:
    """A VPC's spec is the user's, but for the isolation that there really is."""
    if len(msgspec.json.encode(body["spec"])) > SPEC_MAX_BYTES:
        raise BadRequest(f"spec is larger than {SPEC_MAX_BYTES} bytes.")
    body["spec"]["isolation"] = ISOLATION


VPCS = Kind(
    name="vpc",
    title="VPC",
    path="vpcs",
    shape=Vpc,
    paged=False,
    has_url=False,
    prepare=prepare_vpc,
)
GATEWAYS = Kind(
    name="egress_gateway",
    title="egress gateway",
    path="vpcs/{parent}/egressgateways",
    shape=EgressGateway,
    owner=VPCS,
    paged=False,
    status="DEACTIVATED",
    has_url=False,
)
IPS = Kind(
    name="egress_ip",
    title="egress IP",
    path="vpcs/{vpc}/egressgateways/{gateway}/ips",
    shape=EgressIp,
    paged=False,
    status="DEACTIVATED",
    has_url=False,
)


def wanted_gateway(
    store: DocumentStore, shape: EgressGateway, vpc: str, regions: list[str]
) -> Body:
    """A checked body of a gateway in a VPC.

    Raises:
        BadRequest: a rule is broken; names the field.
    """
    body = store.wanted(GATEWAYS, shape)
    check_region(body["spec"]["region"], regions)
    body["metadata"]["vpcName"] = vpc
    return body | {"events": [_event(NO_GATEWAY)]}


def wanted_ip(store: DocumentStore, shape: EgressIp, vpc: str, gateway: str) -> Body:
    """A checked body of an address of a gateway; the address itself is never the client's.

    Raises:
        BadRequest: a rule is broken; names the field.
    """
    body = store.wanted(IPS, shape)
    body["metadata"] |= {"vpcName": vpc, "gatewayName": gateway}
    body["spec"] = {"ipFamily": shape.spec.ip_family}
    return body | {"events": [_event(NO_ADDRESS)]}


def ip_parent(vpc: str, gateway: str) -> str:
    """The parent of a gateway's addresses in the store; no name has a slash."""
    return f"{vpc}/{gateway}"


def _event(message: str) -> dict[str, str]:
    return {
        "type": "egress",
        "status": "DEACTIVATED",
        "time": rfc3339(now()),
        "message": message,
    }
