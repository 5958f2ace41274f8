"""Reading a request body and writing a JSON answer."""

from typing import Any, TypeVar

import msgspec
from litestar import Request, Response

from serai.api.errors import invalid_body
from serai.kernel.errors import BadRequest

Shape = TypeVar("Shape")
AnyRequest = Request[Any, Any, Any]


async def decode_body(request: AnyRequest, shape: type[Shape]) -> Shape:
    """Decode a request body into ``shape``, whatever its content type says.

    Raises:
        BadRequest: empty, not JSON, or not of the shape; names the field.
    """
    raw = await request.body()
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
