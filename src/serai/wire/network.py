"""Custom domains, VPCs, egress gateways and egress IPs.

Answers of the three kinds with ``events`` say in one event what this installation does not do
for them, so that a status is never taken for more than it is.
"""

from typing import Any, Literal

from serai.wire.common import Metadata, Status, Wire


class ResourceEvent(Wire):
    """Something that happened to a resource, or holds for it."""

    type: str
    time: str
    message: str
    status: str | None = None


class CustomDomainMetadata(Wire):
    """``name`` is the domain itself, for example ``preview.example.com``.

    ``shared_from_workspace`` is set on the read-only view that another workspace gets.
    """

    name: str | None = None
    display_name: str | None = None
    labels: dict[str, str] | None = None
    workspace: str | None = None
    shared_from_workspace: str | None = None
    created_at: str | None = None
    created_by: str | None = None
    updated_at: str | None = None
    updated_by: str | None = None


class CustomDomainSpec(Wire):
    """What a client wants of a domain, and what the platform asks of its DNS zone.

    Attributes:
        domain_type: what is served below it; ``previews`` unless asked otherwise.
        region: a region of ``GET /v0/locations``.
        fallback_preview_id: preview to serve when none fits the host name.
        subject_alternative_names: more names of an application's certificate, kept as given.
        validation_method: how a certificate will be validated; cannot change later.
        cname_records: where the CNAME record must point; absent when this server has no name.
        txt_records: TXT records that prove ownership, name to value.
        status: result of the last verification.
        last_verified_at: when that was (RFC 3339).
        verification_error: what was wrong, and the record to set.
    """

    domain_type: Literal["previews", "applications"] | None = None
    region: str | None = None
    fallback_preview_id: str | None = None
    subject_alternative_names: list[dict[str, Any]] | None = None
    validation_method: Literal["dns", "http"] | None = None
    cname_records: str | None = None
    txt_records: dict[str, str] | None = None
    status: Literal["pending", "verified", "failed"] | None = None
    last_verified_at: str | None = None
    verification_error: str | None = None


class CustomDomain(Wire):
    """A domain of the user's own."""

    metadata: CustomDomainMetadata
    spec: CustomDomainSpec


class ShareCustomDomain(Wire):
    """Whom to share a domain with: a workspace of the account, or ``account`` for all of them."""

    target_workspace: str


class CustomDomainShareTarget(Wire):
    """One share of a domain; ``status`` is always ``active``."""

    workspace: str
    status: str
    workspace_display_name: str | None = None


class Vpc(Wire):
    """A named group of egress gateways.

    ``spec`` is free-form, but for ``isolation``, which the platform sets to ``none``: no network
    of its own stands behind a VPC here.
    """

    metadata: Metadata
    spec: dict[str, Any]
    status: Status | None = None
    events: list[ResourceEvent] | None = None


class EgressGatewayMetadata(Metadata):
    """``vpc_name`` comes from the path."""

    vpc_name: str | None = None


class EgressGatewaySpec(Wire):
    """``region`` is one of ``GET /v0/locations``."""

    region: str


class EgressGateway(Wire):
    """A gateway that sandboxes can be bound to by ``spec.network.egress.gateway``."""

    metadata: EgressGatewayMetadata
    spec: EgressGatewaySpec
    status: Status | None = None
    events: list[ResourceEvent] | None = None


class EgressIpMetadata(EgressGatewayMetadata):
    """``vpc_name`` and ``gateway_name`` come from the path."""

    gateway_name: str | None = None


class EgressIpSpec(Wire):
    """``public_ip`` stays absent as long as no address is allocated."""

    ip_family: Literal["IPv4", "IPv6"] = "IPv4"
    public_ip: str | None = None


class EgressIp(Wire):
    """An address wanted of a gateway."""

    metadata: EgressIpMetadata
    spec: EgressIpSpec
    status: Status | None = None
    events: list[ResourceEvent] | None = None
