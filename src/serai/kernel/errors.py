"""The one root of every error that reaches a client."""

from collections.abc import Mapping
from typing import Any, ClassVar


class SeraiError(Exception):
    """An error with an HTTP status and a stable code.

    ``message`` is for people: it names the field or thing at fault and the fix.
    ``details`` holds machine-readable extras that the envelope may carry.
    ``headers`` are sent with the answer (for example ``Retry-After``).
    """

    status: ClassVar[int] = 500
    code: str = "INTERNAL_ERROR"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = dict(details or {})
        self.headers = dict(headers or {})
        if code is not None:
            self.code = code


class BadRequest(SeraiError):
    """The request breaks a rule of the contract (400)."""

    status = 400
    code = "BAD_REQUEST"


class Unauthenticated(SeraiError):
    """Nobody is known to be asking (401); the header says how to (RFC 6750, section 3)."""

    status = 401
    challenge: ClassVar[str] = 'Bearer realm="serai"'

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message, code=code, headers={"WWW-Authenticate": self.challenge})


class AuthenticationRequired(Unauthenticated):
    """No usable credential came with the request (401)."""

    code = "AUTHENTICATION_REQUIRED"


class AuthenticationFailed(Unauthenticated):
    """The credential is malformed, unknown, expired or revoked (401)."""

    code = "AUTHENTICATION_FAILED"
    challenge = 'Bearer realm="serai", error="invalid_token"'


class UsageLimitExceeded(SeraiError):
    """A quota of the account or workspace is used up (402)."""

    status = 402
    code = "USAGE_LIMIT_EXCEEDED"


class Forbidden(SeraiError):
    """The credential is good but may not do this (403)."""

    status = 403
    code = "FORBIDDEN"


class NotFound(SeraiError):
    """No such thing in this workspace (404)."""

    status = 404
    code = "NOT_FOUND"


class MethodNotAllowed(SeraiError):
    """The path exists, the method does not (405)."""

    status = 405
    code = "METHOD_NOT_ALLOWED"


class Conflict(SeraiError):
    """The thing exists already or changed meanwhile (409)."""

    status = 409
    code = "CONFLICT"


class PayloadTooLarge(SeraiError):
    """The body is over the limit (413)."""

    status = 413
    code = "REQUEST_ENTITY_TOO_LARGE"


class RateLimited(SeraiError):
    """Too many requests or tokens in the window (429)."""

    status = 429
    code = "RATE_LIMITED"


class BadGateway(SeraiError):
    """The upstream (a sandbox, a port, a model server) failed (502)."""

    status = 502
    code = "WORKLOAD_UNAVAILABLE"


class ServiceUnavailable(SeraiError):
    """The platform cannot do this right now; trying again may work (503)."""

    status = 503
    code = "SERVICE_UNAVAILABLE"


class GatewayTimeout(SeraiError):
    """The upstream did not answer in time (504)."""

    status = 504
    code = "GATEWAY_TIMEOUT"
