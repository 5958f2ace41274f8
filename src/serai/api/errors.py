"""Errors as the clients parse them.

Every error body carries ``error``, a numeric ``code`` and ``message``. Creating a sandbox has an
envelope of its own, whose ``code`` is a string and whose number is ``status_code``; an unknown
version carries exactly ``error`` and ``message``.
"""

from http import HTTPStatus
from typing import Any

import msgspec
from litestar.exceptions import HTTPException

from serai.api.versions import UnknownVersion
from serai.kernel.errors import (
    BadRequest,
    Forbidden,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    SeraiError,
)

RETRYABLE = frozenset({408, 425, 429, 502, 503, 504})


def translate(problem: BaseException) -> SeraiError:
    """Any exception as a SeraiError; what we did not foresee becomes a plain 500."""
    if isinstance(problem, SeraiError):
        return problem
    if not isinstance(problem, HTTPException):
        return SeraiError("Something went wrong on our side; the log has the details.")
    kinds: dict[int, type[SeraiError]] = {
        403: Forbidden,
        404: NotFound,
        405: MethodNotAllowed,
        413: PayloadTooLarge,
    }
    messages = {
        404: "There is nothing at this path; check its spelling and the API version.",
        405: "This path exists, but not for this method.",
        413: "The request body is larger than this server accepts.",
    }
    kind = kinds.get(problem.status_code, BadRequest if problem.status_code < 500 else SeraiError)
    return kind(messages.get(problem.status_code, problem.detail))


def invalid_body(problem: msgspec.ValidationError | msgspec.DecodeError) -> BadRequest:
    """A body that is not JSON, or not of the type: names the field by its path."""
    if not isinstance(problem, msgspec.ValidationError):
        return BadRequest(f"The request body is not valid JSON: {problem}.", code="INVALID_JSON")
    text, _, path = str(problem).partition(" - at `")
    field = path.rstrip("`").removeprefix("$.").removeprefix("$") or "The request body"
    return BadRequest(f"{field}: {text}.", code="VALIDATION_ERROR")


def envelope(error: SeraiError, *, sandbox_action: bool) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an error answer."""
    headers = dict(error.headers)
    if error.status not in RETRYABLE:
        headers["x-should-retry"] = "false"
    body: dict[str, Any]
    if isinstance(error, UnknownVersion):
        body = {"error": error.code, "message": error.message}
    elif sandbox_action:
        body = {
            "code": error.code,
            "message": error.message,
            "status_code": error.status,
            "error": HTTPStatus(error.status).phrase,
        }
        if error.details:
            body["details"] = error.details
    else:
        body = {"error": error.code, "code": error.status, "message": error.message}
        if error.details:
            body["details"] = error.details
    return msgspec.json.encode(body), headers
