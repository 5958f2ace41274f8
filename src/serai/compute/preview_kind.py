"""The preview kind: defaults, rules, secrets, its address, and when it ends."""

import base64
import re
from collections.abc import Iterator
from datetime import datetime

import msgspec

from serai.compute.kind import SANDBOXES, moment_of
from serai.kernel.addresses import LABEL_MAX
from serai.kernel.clock import parse_rfc3339
from serai.kernel.durations import parse_duration
from serai.kernel.errors import BadRequest
from serai.kernel.names import check_name
from serai.resources.kind import Body, Kind
from serai.resources.masking import Slot
from serai.store.secrets import Vault
from serai.wire.sandboxes import Preview

API_PORTS = frozenset({443, 8080})
"""Ports of a preview that mean the sandbox's own API."""

REFUSED_PORTS = frozenset({80})
HEADERS_MAX = 50
HEADER_VALUE_MAX = 4096
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}\Z")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*\Z")
_OURS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "forwarded",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-prefix",
        "x-forwarded-proto",
        "x-real-ip",
        "x-request-id",
    }
)
_SECRET_HEADER = re.compile(r"authorization|cookie|token|secret|password|api-?key", re.IGNORECASE)


def prepare_preview(body: Body) -> None:
    """Complete defaults and check the rules of a wanted preview."""
    spec = body["spec"]
    for field in ("url", "region"):
        spec.pop(field, None)
    for field in ("prefixUrl", "customDomain", "expires", "ttl"):
        if not spec.get(field):
            spec.pop(field, None)
    spec["public"] = bool(spec.get("public"))
    _check_port(spec.get("port"), spec["public"])
    if "prefixUrl" in spec:
        check_name(spec["prefixUrl"], "spec.prefixUrl")
        if spec["prefixUrl"] == "xn":
            raise BadRequest("spec.prefixUrl 'xn' makes names that browsers misread; use another.")
    if "customDomain" in spec:
        spec["customDomain"] = spec["customDomain"].lower().rstrip(".")
    for field in ("requestHeaders", "responseHeaders"):
        if not spec.get(field):
            spec.pop(field, None)
        _check_headers(spec.get(field) or {}, f"spec.{field}")
    if "expires" in spec:
        moment_of(spec["expires"], "spec.expires")
    if "ttl" in spec:
        parse_duration(spec["ttl"], "spec.ttl")


def _check_port(port: int | None, public: bool) -> None:
    if port is None:
        raise BadRequest(
            "spec.port is missing: name the port inside the sandbox that the preview shows, "
            "for example 3000."
        )
    if not 1 <= port <= 65535 or port in REFUSED_PORTS:
        raise BadRequest(
            f"spec.port {port} cannot be previewed: use a port from 1 to 65535 other than 80."
        )
    if public and port in API_PORTS:
        raise BadRequest(
            f"spec.port {port} is the sandbox's own API, which runs commands for whoever reaches "
            "it: set spec.public to false and use a token."
        )


def _check_headers(headers: dict[str, str], field: str) -> None:
    if len(headers) > HEADERS_MAX:
        raise BadRequest(f"{field} has {len(headers)} entries; at most {HEADERS_MAX}.")
    seen: set[str] = set()
    for name, value in headers.items():
        lower = name.lower()
        if not _HEADER_NAME.match(name) or lower in seen:
            raise BadRequest(f"{field} has {name[:80]!r}, which is no header name, or twice there.")
        if lower in _OURS or lower.startswith("x-blaxel-"):
            raise BadRequest(f"{field}.{name[:80]} is set by the platform; leave it out.")
        if len(value) > HEADER_VALUE_MAX or not _HEADER_VALUE.match(value):
            raise BadRequest(
                f"{field}.{name[:80]} may have at most {HEADER_VALUE_MAX} characters, without "
                "line breaks or other control characters."
            )
        seen.add(lower)


def header_slots(body: Body) -> Iterator[Slot]:
    """Request headers that carry credentials, by their names."""
    headers = body["spec"].get("requestHeaders") or {}
    for name in headers:
        if _SECRET_HEADER.search(name):
            yield Slot(f"spec.requestHeaders.{name}", headers, name)


PREVIEWS = Kind(
    name="preview",
    title="preview",
    path="sandboxes/{parent}/previews",
    shape=Preview,
    owner=SANDBOXES,
    paged=False,
    has_url=False,
    prepare=prepare_preview,
    secrets=header_slots,
)


def slug_of(vault: Vault, workspace: str, sandbox: str, body: Body) -> str:
    """What tells a preview's address from others: the same whenever it is made again.

    It can be a label of a host name. With a prefix it is readable, ``{prefix}--{workspace}`` (no
    name has two hyphens in a row), or ends in ``---`` and a digest where that would be too long;
    without one nobody can guess it.
    """
    prefix = body["spec"].get("prefixUrl")
    if prefix:
        slug = f"{prefix}--{workspace}"
        if len(slug) <= LABEL_MAX:
            return slug
        return f"{prefix}---" + _text(vault.digest(f"prefix\n{workspace}\n{prefix}"), 5)
    name = body["metadata"]["name"]
    return _text(vault.digest(f"preview\n{workspace}\n{sandbox}\n{name}"), 10)


def _text(digest: bytes, count: int) -> str:
    return base64.b32encode(digest[:count]).decode().lower()


def host_of(body: Body) -> str | None:
    """A preview's own name in its custom domain: its prefix, or else its name, below that."""
    spec = body["spec"]
    domain = spec.get("customDomain")
    return f"{spec.get('prefixUrl') or body['metadata']['name']}.{domain}" if domain else None


def ends_at(body: Body) -> datetime | None:
    """When a stored preview ends, if ever."""
    spec, moments = body["spec"], []
    if "expires" in spec:
        moments.append(parse_rfc3339(spec["expires"]))
    if "ttl" in spec:
        changed = parse_rfc3339(body["metadata"]["updatedAt"])
        moments.append(changed + parse_duration(spec["ttl"], "spec.ttl"))
    return min(moments, default=None)


def decode(text: str) -> Body:
    """A stored body."""
    body: Body = msgspec.json.decode(text)
    return body
