"""``spec.network`` of a sandbox: what it may say, and what that means for its traffic."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from serai.egress.policy import Policy, Route
from serai.kernel.errors import BadRequest
from serai.resources.kind import Body

RULESETS = frozenset({"default", "proxy", "dedicated-ip"})
_MAX_PATTERNS = 1000
_MAX_TEXT = 2000
_MAX_ROUTES = 100
_MAX_FIELDS = 100
_MAX_VALUE = 64 * 1024
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_FRAMING = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_ALWAYS_LOCAL = (
    "localhost,127.0.0.1,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,169.254.169.254,"
    ".local,.internal"
)


def check_network(network: Body) -> None:
    """Refuse what could not be obeyed.

    Raises:
        BadRequest: names the field.
    """
    proxy = network.get("proxy") or {}
    for name in ("allowedDomains", "forbiddenDomains"):
        _check_patterns(network.get(name), f"spec.network.{name}")
        _check_patterns(proxy.get(name), f"spec.network.proxy.{name}")
    _check_patterns(proxy.get("bypass"), "spec.network.proxy.bypass")
    _check_rulesets((network.get("firewall") or {}).get("rulesets"))
    routes = proxy.get("routing") or []
    if len(routes) > _MAX_ROUTES:
        raise BadRequest(f"spec.network.proxy.routing has more than {_MAX_ROUTES} rules.")
    for index, route in enumerate(routes):
        _check_route(route, f"spec.network.proxy.routing[{index}]")


def _check_patterns(patterns: list[str] | None, field: str) -> None:
    if len(patterns or ()) > _MAX_PATTERNS:
        raise BadRequest(f"{field} has more than {_MAX_PATTERNS} entries.")
    for index, pattern in enumerate(patterns or ()):
        if not pattern.strip() or len(pattern) > _MAX_TEXT or not pattern.isprintable():
            raise BadRequest(
                f"{field}[{index}] must be a domain, such as api.example.com or *.example.com, "
                "or a pattern, such as GET:api.example.com/path."
            )


def _check_rulesets(rulesets: Any) -> None:
    if rulesets is None:
        return
    if not isinstance(rulesets, list) or not all(isinstance(each, str) for each in rulesets):
        raise BadRequest("spec.network.firewall.rulesets must be a list of names.")
    for each in rulesets:
        if each not in RULESETS:
            raise BadRequest(
                f"spec.network.firewall.rulesets: {each[:60]!r} is none of "
                f"{', '.join(sorted(RULESETS))}."
            )


def _check_route(route: Body, field: str) -> None:
    _check_patterns(route.get("destinations"), f"{field}.destinations")
    if not route.get("destinations"):
        raise BadRequest(f'{field}.destinations is missing; use ["*"] for every destination.')
    for part in ("headers", "body", "secrets"):
        values = route.get(part) or {}
        if len(values) > _MAX_FIELDS:
            raise BadRequest(f"{field}.{part} has more than {_MAX_FIELDS} entries.")
        for name, value in values.items():
            if len(value) > _MAX_VALUE:
                raise BadRequest(f"{field}.{part}: {name[:60]!r} is longer than {_MAX_VALUE}.")
    for name, value in (route.get("headers") or {}).items():
        if not _HEADER_NAME.fullmatch(name) or any(each in value for each in "\r\n\0"):
            raise BadRequest(f"{field}.headers: {name[:60]!r} is not a valid HTTP header.")
        if name.lower() in _FRAMING:
            raise BadRequest(
                f"{field}.headers: {name} belongs to the connection and cannot be added."
            )


def policy_of(network: Mapping[str, Any] | None, *, closed: bool) -> Policy:
    """The rules that ``spec.network``, with its secrets, stands for.

    Args:
        closed: whether a sandbox that says nothing reaches nothing.
    """
    network = network or {}
    proxy = network.get("proxy") or {}
    allowed = _both(network, proxy, "allowedDomains")
    forbidden = _both(network, proxy, "forbiddenDomains")
    rulesets = (network.get("firewall") or {}).get("rulesets") or ()
    return Policy(
        allowed=allowed,
        forbidden=forbidden,
        bypass=tuple(proxy.get("bypass") or ()),
        routes=tuple(_route(route) for route in proxy.get("routing") or ()),
        proxy_only="proxy" in rulesets,
        closed=closed,
    )


def _both(network: Mapping[str, Any], proxy: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The contract has two places for the same list."""
    return tuple(dict.fromkeys([*(network.get(name) or ()), *(proxy.get(name) or ())]))


def _route(route: Mapping[str, Any]) -> Route:
    return Route(
        destinations=tuple(route.get("destinations") or ()),
        headers=dict(route.get("headers") or {}),
        body=dict(route.get("body") or {}),
        secrets=dict(route.get("secrets") or {}),
    )


def proxy_environment(network: Mapping[str, Any] | None, proxy_url: str) -> dict[str, str]:
    """Variables for a sandbox made with ``network.proxy``; clients that know them ask a proxy."""
    proxy = (network or {}).get("proxy")
    if proxy is None:
        return {}
    local = ",".join((_ALWAYS_LOCAL, *_as_no_proxy(proxy.get("bypass") or ())))
    values = {"HTTP_PROXY": proxy_url, "HTTPS_PROXY": proxy_url, "NO_PROXY": local}
    return values | {name.lower(): value for name, value in values.items()}


def _as_no_proxy(bypass: Iterable[str]) -> list[str]:
    return [each.removeprefix("*") for each in bypass if "," not in each]
