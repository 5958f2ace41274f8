"""The application kind: defaults, rules and secrets."""

import copy
import re
from collections.abc import Iterator

from serai.compute.jobs import check_range
from serai.kernel.errors import BadRequest
from serai.kernel.names import check_name
from serai.resources.kind import Body, Kind, Operations
from serai.resources.kinds import check_envs, check_memory
from serai.resources.masking import Slot, env_slots
from serai.wire.applications import Application, AppRevision

COMPUTE = frozenset({"image", "memory", "port", "envs", "snapshot"})
REVISIONS_MAX = 5
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = re.compile(rf"(\*\.)?{LABEL}(\.{LABEL})+\Z")
SUBDOMAIN = re.compile(rf"{LABEL}(\.{LABEL})*\Z")


def prepare_application(body: Body) -> None:
    """Complete defaults and check the rules of a wanted application."""
    spec = body["spec"]
    spec.setdefault("enabled", True)
    revisions = spec.get("revisions") or []
    if len(revisions) > REVISIONS_MAX:
        raise BadRequest(f"spec.revisions has {len(revisions)} entries; at most {REVISIONS_MAX}.")
    _check_compute(spec, "spec")
    for number, revision in enumerate(revisions):
        _check_compute(revision, f"spec.revisions[{number}]")
    for name, extension in (spec.get("extensions") or {}).items():
        if extension.get("sandbox") is not None:
            check_name(extension["sandbox"], f"spec.extensions[{name[:60]!r}].sandbox")
    _check_urls(spec.get("urls") or [])
    _take_compute(spec, revisions)


def _take_compute(spec: Body, revisions: list[Body]) -> None:
    """The compute stands in the spec itself; one client sends it as a revision instead."""
    if spec.get("image"):
        spec.pop("revisions", None)
    elif revisions:
        first = {key: value for key, value in revisions[0].items() if key in COMPUTE}
        spec |= copy.deepcopy(first)


def _check_compute(holder: Body, field: str) -> None:
    try:
        check_memory(holder)
        check_envs(holder)
    except BadRequest as problem:
        raise BadRequest(problem.message.replace("spec.runtime", field)) from None
    check_range(holder.get("port"), 1, 65535, f"{field}.port")


def _check_urls(urls: list[Body]) -> None:
    seen: set[str] = set()
    for number, url in enumerate(urls):
        field, domain = f"spec.urls[{number}]", url["domain"]
        if len(domain) > 253 or not DOMAIN.match(domain):
            raise BadRequest(
                f"{field}.domain {domain[:80]!r} is not a domain name such as app.example.com."
            )
        below = url.get("subdomain") or ""
        if below and not SUBDOMAIN.match(below):
            raise BadRequest(f"{field}.subdomain {below[:80]!r} is not a host name.")
        host = f"{below}.{domain.removeprefix('*.')}" if below else domain
        if host in seen:
            raise BadRequest(f"{field}: {host!r} is there twice.")
        seen.add(host)


def application_slots(body: Body) -> Iterator[Slot]:
    """Secret environment values of the application and of the revisions that were sent with it."""
    spec = body["spec"]
    yield from _slots(spec, "spec")
    for number, revision in enumerate(spec.get("revisions") or []):
        yield from _slots(revision, f"spec.revisions.{revision.get('id') or number}")


def _slots(holder: Body, prefix: str) -> Iterator[Slot]:
    for slot in env_slots({"spec": {"runtime": holder}}):
        yield Slot(slot.key.replace("spec.runtime", prefix, 1), slot.container, slot.field)


APPLICATIONS = Kind(
    name="application",
    title="application",
    path="applications",
    shape=Application,
    status="DEACTIVATED",
    prepare=prepare_application,
    secrets=application_slots,
    versioned=True,
    built=True,
    revision_shape=AppRevision,
    operations=Operations.of("Application"),
)
