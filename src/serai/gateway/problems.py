"""Errors of the data plane and the envelope they travel in.

The edge answers ``{"error": {"code", "message", "status", "origin", "retryable", …}}`` and
repeats the code in ``x-blaxel-error-code``. There is deliberately no top-level ``code``: the
official clients let it win over the one inside ``error``.
"""

from collections.abc import Iterable
from http import HTTPStatus

import msgspec

from serai.billing.spending import BudgetSpent
from serai.gateway.advice import advice
from serai.gateway.error_pages import POLICY
from serai.hosting.problems import WorkloadUnavailable
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import (
    BadGateway,
    Forbidden,
    GatewayTimeout,
    NotFound,
    RateLimited,
    SeraiError,
    ServiceUnavailable,
)


class RouteNotFound(NotFound):
    """The path names nothing the gateway serves."""

    code = "ROUTE_NOT_FOUND"


class WorkloadNotFound(NotFound):
    """No workload of that kind and name is running in the workspace."""

    code = "WORKLOAD_NOT_FOUND"


class DomainNotVerified(SeraiError):
    """The request is for a host that leads here without being anybody's (421)."""

    status = 421
    code = "DOMAIN_NOT_VERIFIED"


class UpstreamConnectFailed(BadGateway):
    """No connection to the upstream; the request was not sent, so it may be repeated."""

    code = "UPSTREAM_CONNECT_FAILED"


class UpstreamConnectTimeout(GatewayTimeout):
    """The upstream did not accept a connection in time; the request was not sent."""

    code = "UPSTREAM_CONNECT_TIMEOUT"


class UpstreamBroken(BadGateway):
    """The upstream took the request and then broke the connection or the protocol."""

    code = "UPSTREAM_ERROR"


class ProviderFailed(BadGateway):
    """A model provider answered something that no client of its API could read."""

    code = "PROVIDER_ANSWER_UNREADABLE"


class ProviderCredentialsRefused(BadGateway):
    """The provider's token server did not take the connection's credentials."""

    code = "PROVIDER_CREDENTIALS_REFUSED"


class ModelDisabled(Forbidden):
    """The model exists, with ``spec.enabled`` false (403)."""

    code = "MODEL_DISABLED"


class ModelUnusable(ServiceUnavailable):
    """The model's settings lead nowhere; nothing was sent, and asking again is in vain (503)."""

    code = "MODEL_NOT_USABLE"


class UpstreamSlow(GatewayTimeout):
    """The upstream took the request and did not answer in time."""

    code = "UPSTREAM_TIMEOUT"


class RequestTimeout(SeraiError):
    """The client took too long to send its request (408)."""

    status = 408
    code = "REQUEST_TIMEOUT"


class TooManyTokens(RateLimited):
    """One call may use more tokens than a rate limit ever allows: waiting does not help (429)."""


class UriTooLong(SeraiError):
    """The request target is over the limit (414)."""

    status = 414
    code = "URI_TOO_LONG"


class HeadersTooLarge(SeraiError):
    """Too many or too large request headers (431)."""

    status = 431
    code = "HEADERS_TOO_LARGE"


class GatewayBug(SeraiError):
    """Something in the gateway itself failed (500); the log has the cause."""

    code = "GATEWAY_INTERNAL_ERROR"


_ALWAYS_RETRYABLE = (UpstreamConnectFailed, UpstreamConnectTimeout)
_RETRYABLE_STATUS = frozenset({408, 429, 503})
_AGAIN = (*_ALWAYS_RETRYABLE, WorkloadUnavailable)


_VAIN = (ModelUnusable, TooManyTokens, BudgetSpent)
"""What asking again does not change for a long time."""


def retryable(problem: SeraiError) -> bool:
    """Whether sending the same request again is both safe and sensible."""
    if isinstance(problem, _VAIN):
        return False
    return isinstance(problem, _AGAIN) or problem.status in _RETRYABLE_STATUS


OF_PROVIDER = (
    ProviderCredentialsRefused,
    ProviderFailed,
    UpstreamBroken,
    UpstreamConnectFailed,
    UpstreamConnectTimeout,
    UpstreamSlow,
)


def of_provider(problem: SeraiError) -> SeraiError:
    """Mark a problem as the model provider's where it is: its ``origin`` says so."""
    if isinstance(problem, OF_PROVIDER):
        problem.details["origin"] = "provider"
    return problem


def envelope(problem: SeraiError, request_id: str) -> bytes:
    """The JSON body of an error answer."""
    return msgspec.json.encode(
        {
            "error": {
                **advice(problem.code),
                **problem.details,
                "code": problem.code,
                "message": problem.message,
                "status": problem.status,
                "origin": problem.details.get("origin", "platform"),
                "retryable": retryable(problem),
                "request_id": request_id,
                "timestamp": rfc3339(now()),
            },
            "message": problem.message,
        }
    )


def status_line(status: int) -> bytes:
    """``HTTP/1.1 404 Not Found`` with its line end; codes without a name get an empty phrase."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


_JSON = ("content-type: application/json",)
_HTML = (
    "content-type: text/html; charset=utf-8",
    f"content-security-policy: {POLICY}",
    "cache-control: no-store",
)


def render(
    problem: SeraiError,
    *,
    request_id: str,
    close: bool,
    head_only: bool,
    extra: Iterable[tuple[bytes, bytes]] = (),
    page: bytes | None = None,
) -> bytes:
    """A whole HTTP/1.1 error answer.

    Args:
        problem: what went wrong.
        request_id: goes into body and ``x-request-id``.
        close: announce that the connection will be closed.
        head_only: the request was a HEAD, so the body stays away.
        extra: more header fields, for example the date.
        page: what to send instead of the JSON envelope, to somebody who opens a page.
    """
    body = envelope(problem, request_id) if page is None else page
    lines = [status_line(problem.status).decode().rstrip("\r\n")]
    lines += [f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in extra]
    lines += [
        *(_JSON if page is None else _HTML),
        f"content-length: {len(body)}",
        f"x-request-id: {request_id}",
        "x-blaxel-source: platform",
        f"x-blaxel-error-code: {problem.code}",
    ]
    if problem.status == 401 and "WWW-Authenticate" not in problem.headers:
        lines.append("www-authenticate: Bearer")
    if not retryable(problem):
        lines.append("x-should-retry: false")
    lines += [f"{name.lower()}: {value}" for name, value in problem.headers.items()]
    if close:
        lines.append("connection: close")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
    return head if head_only else head + body
