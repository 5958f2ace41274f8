"""Custom domains: their rules, the records they need, and what a verification says."""

import msgspec

from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import BadRequest
from serai.kernel.ids import token
from serai.kernel.names import check_labels
from serai.network.names import check_domain
from serai.network.verification import WantedRecords
from serai.resources.kind import Body, Kind, Usage
from serai.wire.network import CustomDomain

ACTIVE = Usage(
    "custom_domain_active_time_hours",
    "custom_domain",
    lambda body: 1 if body["spec"].get("status") == "verified" else 0,
)
DOMAINS = Kind(
    name="custom_domain",
    title="custom domain",
    path="customdomains",
    shape=CustomDomain,
    paged=False,
    status="",
    has_url=False,
    usage=ACTIVE,
)
CHALLENGE = "_serai-verification"
FALLBACK_MAX = 128
DISPLAY_NAME_MAX = 63
KEPT_SPEC = (
    "domainType",
    "region",
    "fallbackPreviewId",
    "subjectAlternativeNames",
    "validationMethod",
)
KEPT_METADATA = ("name", "displayName", "labels")


def wanted_domain(shape: CustomDomain, regions: list[str], name: str | None = None) -> Body:
    """A checked body of what a client wants; what only the platform writes is left out.

    Args:
        shape: what was sent.
        regions: that a domain may be in.
        name: the domain in the path, which the body may repeat but not contradict.

    Raises:
        BadRequest: a rule is broken; names the field and the rule.
    """
    sent: Body = msgspec.to_builtins(shape)
    metadata = {k: v for k in KEPT_METADATA if (v := sent["metadata"].get(k)) is not None}
    spec = {k: v for k in KEPT_SPEC if (v := sent["spec"].get(k)) is not None}
    given = metadata.get("name", name)
    if given is None:
        raise BadRequest("metadata.name is missing: it is the domain, such as preview.example.com.")
    metadata["name"] = check_domain(given.lower())
    if name is not None and metadata["name"] != name:
        raise BadRequest(
            f"metadata.name {given[:80]!r} differs from the domain in the path, {name[:80]!r}; "
            "a custom domain cannot be renamed."
        )
    _check(metadata, spec, regions)
    return {"metadata": metadata, "spec": spec}


def _check(metadata: Body, spec: Body, regions: list[str]) -> None:
    check_labels(metadata.get("labels") or {})
    if len(metadata.get("displayName", "")) > DISPLAY_NAME_MAX:
        raise BadRequest(f"metadata.displayName is longer than {DISPLAY_NAME_MAX} characters.")
    if len(spec.get("fallbackPreviewId", "")) > FALLBACK_MAX:
        raise BadRequest(f"spec.fallbackPreviewId is longer than {FALLBACK_MAX} characters.")
    spec.setdefault("domainType", "previews")
    check_region(spec.get("region"), regions)
    if spec["domainType"] == "previews" and spec.get("subjectAlternativeNames"):
        raise BadRequest("spec.subjectAlternativeNames is only for domains of type applications.")
    if spec["domainType"] == "previews" and spec.get("validationMethod") == "http":
        raise BadRequest(
            "spec.validationMethod http is not possible for previews, which need a wildcard; "
            "use dns."
        )


def check_region(region: str | None, regions: list[str]) -> None:
    """A region must be one of those this installation lists."""
    if region is not None and region not in regions:
        raise BadRequest(
            f"spec.region {region[:80]!r} is not a region of this installation; "
            f"use one of {', '.join(regions)}."
        )


def ask_for_records(body: Body, target: str | None) -> Body:
    """The body of a new domain: pending, with the records that its zone must get."""
    domain, spec = body["metadata"]["name"], body["spec"]
    spec["txtRecords"] = {f"{CHALLENGE}.{domain}": f"serai-verification={token(32)}"}
    spec["status"] = "pending"
    if target is not None:
        spec["cnameRecords"] = target
    return body


def keep_verification(body: Body, old: Body) -> Body:
    """The body of a replaced domain: type and verification stay as they were.

    Raises:
        BadRequest: the type or the validation method would change.
    """
    spec, before = body["spec"], old["spec"]
    for field in ("domainType", "validationMethod"):
        if before.get(field, spec.get(field)) != spec.get(field, before.get(field)):
            raise BadRequest(f"spec.{field} cannot change; delete the domain and create it anew.")
        if field in before:
            spec[field] = before[field]
    for field in ("txtRecords", "cnameRecords", "status", "lastVerifiedAt", "verificationError"):
        if field in before:
            spec[field] = before[field]
    return body


def records_of(body: Body) -> WantedRecords:
    """The records to look for: below a previews domain every name must lead here."""
    spec, domain = body["spec"], body["metadata"]["name"]
    source = f"*.{domain}" if spec["domainType"] == "previews" else domain
    target = spec.get("cnameRecords")
    return WantedRecords(txt=spec["txtRecords"], source=source, target=target)


def verified(body: Body, problem: str | None) -> Body:
    """The body after a verification that found this problem, or none."""
    spec = body["spec"]
    spec["status"] = "verified" if problem is None else "failed"
    spec["lastVerifiedAt"] = rfc3339(now())
    spec.pop("verificationError", None)
    if problem is not None:
        spec["verificationError"] = problem
    return body


def shared_view(body: Body, target: str) -> Body:
    """The read-only view of a domain in a workspace that it is shared with."""
    metadata = body["metadata"]
    metadata["sharedFromWorkspace"] = metadata["workspace"]
    metadata["workspace"] = target
    return body
