"""Answers and bodies, as all operations of identity make and read them."""

from typing import Any

import msgspec
from litestar import Response

from serai.api.exchange import AnyRequest, decode_body, json_response
from serai.wire.identity import InvitationToken


def answer(content: Any) -> Response[bytes]:
    """A 200 answer from Structs."""
    return json_response(msgspec.json.encode(content))


async def optional_token(request: AnyRequest) -> str | None:
    """The secret of an invitation in a body that may be left out."""
    if not await request.body():
        return None
    return (await decode_body(request, InvitationToken)).token or None
