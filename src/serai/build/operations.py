"""Where uploaded code arrives: no credential is needed but the URL itself."""

from collections.abc import AsyncIterator

import msgspec
from litestar import Response, put
from litestar.exceptions import InternalServerException
from litestar.types import ControllerRouterHandler

from serai.api.exchange import AnyRequest, json_response
from serai.build.announcing import Announcements
from serai.build.grants import PATH
from serai.kernel.errors import SeraiError
from serai.wire.common import Wire


class UploadedCode(Wire):
    """The answer to an upload: the build that it began."""

    message: str
    build: str


class UploadBroken(SeraiError):
    """The client went away in the middle of an upload; it may send the code again (400)."""

    status = 400
    code = "UPLOAD_BROKEN"


def upload_operations(
    announcements: Announcements, most_bytes: int
) -> list[ControllerRouterHandler]:
    """The upload of code."""

    @put(PATH, request_max_body_size=most_bytes, opt={"answer": UploadedCode})
    async def upload_code(request: AnyRequest) -> Response[bytes]:
        token = request.query_params.get("token") or ""
        row = await announcements.receive(token, _content(request))
        return json_response(
            msgspec.json.encode(UploadedCode(message="Upload received", build=row.id))
        )

    return [upload_code]


async def _content(request: AnyRequest) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except InternalServerException:  # how Litestar says that the client is gone
        raise UploadBroken("The connection was lost before the code had arrived.") from None
