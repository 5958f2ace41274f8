"""Reading a request body and writing a JSON answer."""

from contextvars import ContextVar
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response
from litestar.exceptions import InternalServerException

from serai.api.errors import invalid_body
from serai.kernel.errors import BadRequest

Shape = TypeVar("Shape")
AnyRequest = Request[Any, Any, Any]


class Origin(msgspec.Struct, kw_only=True):
    """Where a request comes from, and what it says about the state it wants to change.

    Attributes:
        client: address of the peer.
        user_agent: as sent, cut to a sane length.
        request_id: as answered in ``x-request-id``.
        if_match: the entity tags of an ``If-Match`` header; ``None`` without one.
        claim: of an idempotent request, the one run that may take effect.
        audited: whether the audit log has this request's change already.
    """

    client: str = ""
    user_agent: str = ""
    request_id: str = ""
    if_match: str | None = None
    claim: str | None = None
    audited: bool = False


_origin: ContextVar[Origin | None] = ContextVar("serai_request_origin", default=None)


def begin_origin(origin: Origin) -> None:
    """Remember where the request that this task answers comes from."""
    _origin.set(origin)


def current_origin() -> Origin:
    """Where the request that is being answered comes from; empty for the platform's own work."""
    return _origin.get() or Origin()


async def decode_body(request: AnyRequest, shape: type[Shape]) -> Shape:
    """Decode a request body into ``shape``, whatever its content type says.

    Raises:
        BadRequest: empty, not JSON, or not of the shape; names the field.
    """
    try:
        raw = await request.body()
    except InternalServerException as problem:  # what Litestar makes of a client that left
        raise BadRequest("The request ended before its body did.", code="INVALID_JSON") from problem
    if not raw:
        raise BadRequest("The request body is empty; send a JSON object.", code="INVALID_JSON")
    try:
        return msgspec.json.decode(raw, type=shape)
    except msgspec.DecodeError as problem:
        raise invalid_body(problem) from None
    except RecursionError:
        raise BadRequest("The request body is nested too deeply.", code="INVALID_JSON") from None


def json_response(body: bytes, headers: dict[str, str] | None = None) -> Response[bytes]:
    """A 200 answer from bytes that are JSON already."""
    return Response(body, media_type="application/json", status_code=200, headers=headers)


def flag(request: AnyRequest, name: str) -> bool:
    """A boolean query parameter; absent is false.

    Raises:
        BadRequest: neither true nor false.
    """
    value = request.query_params.get(name, "").lower()
    if value in {"", "false", "0"}:
        return False
    if value in {"true", "1"}:
        return True
    raise BadRequest(f"{name} {value!r} is not a boolean: use true or false.")
